"""The tissue table: every structure of every schema is drawn by some tissue, and HU are those of patients."""

import pytest

from lib.anatomy.hounsfield import FAT, MUSCLE
from lib.anatomy.schemas import STORED_SCHEMAS
from lib.phantoms.tissues import BY_ID, TISSUES, ids, label_table


@pytest.mark.parametrize("task", STORED_SCHEMAS)
def test_every_structure_of_a_schema_has_a_tissue(task):
    drawn = {int(value) for value in label_table(task) if value}
    marks = {"l3_slice", "last_rib", "iliac_crest", "transitional_vertebra"}  # on other structures, no tissues
    names = set(STORED_SCHEMAS[task].names) - marks
    assert drawn == {STORED_SCHEMAS[task][name].id for name in names}


def test_a_tissue_belongs_to_one_structure_of_a_task_at_most():
    for tissue in BY_ID:
        for task, schema in STORED_SCHEMAS.items():
            assert sum(label in schema for label in tissue.labels) <= 1, (tissue.name, task)


def test_the_muscles_of_l3_are_the_three_groups():
    for tissue in BY_ID:
        groups = {"psoas", "paraspinal", "abdominal_wall"} & set(tissue.labels)
        assert len(groups) == ("skeletal_muscle" in tissue.labels)
        if groups:
            assert "muscle" in tissue.labels


def test_the_latissimus_belongs_to_no_group_of_l3():
    assert set(TISSUES["latissimus_dorsi"].labels) == {"muscle"}


def test_hu_lie_in_the_ranges_of_their_tissue():
    for tissue in BY_ID:
        if tissue.texture == "muscle":
            assert MUSCLE.low < tissue.hu < 70
        if tissue.name.endswith("_fat"):
            assert FAT.low < tissue.hu < FAT.high
        if tissue.name.endswith("_cortex"):
            assert tissue.hu > TISSUES[tissue.name.replace("_cortex", "_marrow")].hu + 250


def test_ids_marks_the_named_tissues_only():
    table = ids(("liver", "spleen"))
    assert {BY_ID[i].name for i in table.nonzero()[0]} == {"liver", "spleen"}
    with pytest.raises(KeyError):
        ids("spam")
