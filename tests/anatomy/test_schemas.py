"""The label schemas hold together: numbers, names, colours, codes and groups."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import pytest

from lib.anatomy.schemas import (
    BODY_COMPOSITION,
    GUIDES,
    L3_MUSCLE,
    L3_SLICE,
    L3_TISSUE,
    SARCOPENIA,
    SCHEMAS,
    STORED_SCHEMAS,
    THIGH_MUSCLES,
    Code,
    LabelSchema,
    Structure,
    task_of,
)
from lib.anatomy.thigh import PLACES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pydicom.sr._concepts_dict import concepts

EVERY_SCHEMA = pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
CODES = sorted({code for schema in SCHEMAS.values() for s in schema for code in (s.code, s.category)}, key=str)
EVERY_CODE = pytest.mark.parametrize("code", CODES, ids=lambda code: code.meaning)

# The permutation of the Verhoeff check digit, which every SNOMED CT identifier ends in.
_PERMUTATION = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def _multiply(a: int, b: int) -> int:
    """The product in the dihedral group D5: 0 to 4 are rotations, 5 to 9 reflections."""
    if a < 5:
        return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
    return 5 + (a - b) % 5 if b < 5 else (a - b) % 5


def verhoeff_holds(number: str) -> bool:
    """Whether the last digit of ``number`` is its Verhoeff check digit."""
    check = 0
    for place, digit in enumerate(reversed(number)):
        permuted = int(digit)
        for _ in range(place % 8):
            permuted = _PERMUTATION[permuted]
        check = _multiply(check, permuted)
    return check == 0


class TestNumbersAndNames:
    @EVERY_SCHEMA
    def test_ids_run_from_1_without_gaps(self, schema):
        assert list(schema.ids.values()) == list(range(1, len(schema) + 1))
        assert [schema[name].id for name in schema.names] == list(range(1, len(schema) + 1))

    def test_gap_in_the_ids_is_refused(self):
        structures = (
            Structure("a", 1, (1, 1, 1), Code("39937001", "Skin")),
            Structure("b", 3, (2, 2, 2), Code("39937001", "Skin")),
        )
        with pytest.raises(ValueError, match="ids of broken"):
            LabelSchema("broken", structures)

    def test_a_name_is_in_one_stored_task_only(self):
        counts = Counter(s.name for schema in STORED_SCHEMAS.values() for s in schema)
        assert [name for name, n in counts.items() if n > 1] == []

    def test_the_name_tells_the_task(self):
        for task, schema in STORED_SCHEMAS.items():
            assert {task_of(name) for name in schema.names} == {task}
        assert task_of("spleen") is None

    @EVERY_SCHEMA
    def test_colours_differ_within_a_task(self, schema):
        assert len({s.color for s in schema}) == len(schema)
        assert all(0 <= channel <= 255 for s in schema for channel in s.color)


class TestCodes:
    @pytest.mark.parametrize(("number", "valid"), [("2363", True), ("36470004", True), ("36470005", False)])
    def test_check_digit_itself(self, number, valid):
        assert verhoeff_holds(number) is valid

    @EVERY_CODE
    def test_value_is_a_concept_id_with_its_check_digit(self, code):
        assert code.scheme == "SCT"
        assert 6 <= len(code.value) <= 18
        assert verhoeff_holds(code.value)
        assert code.value[-3:-1] == "00", "not the partition of international concepts"

    @EVERY_CODE
    def test_meaning_is_there_and_fits_dicom(self, code):
        assert code.meaning.strip() == code.meaning != ""
        assert len(code.meaning) <= 64, "longer than DICOM's LO"

    def test_one_code_has_one_meaning(self):
        assert len({code.value for code in CODES}) == len(CODES)

    @EVERY_CODE
    def test_meaning_is_the_one_dicom_gives_the_code(self, code):
        given = {entry[code.value][0] for entry in concepts["SCT"].values() if code.value in entry}
        assert not given or code.meaning in given

    @EVERY_SCHEMA
    def test_fat_is_a_tissue_and_the_rest_are_anatomical_structures(self, schema):
        for s in schema:
            assert s.category.meaning == ("Tissue" if s.name.endswith("fat") else "Anatomical Structure"), s.name


class TestContents:
    def test_sarcopenia_shows_the_muscle_groups_and_the_two_fats(self):
        assert SARCOPENIA.names == ("psoas", "paraspinal", "abdominal_wall", "visceral_fat", "l3_subcutaneous_fat")
        for s in SARCOPENIA:
            stored = STORED_SCHEMAS[task_of(s.name)][s.name]
            assert (s.color, s.code, s.category) == (stored.color, stored.code, stored.category)

    def test_sarcopenia_itself_is_not_stored(self):
        assert "sarcopenia" in SCHEMAS
        assert "sarcopenia" not in STORED_SCHEMAS

    def test_l3_schemas(self):
        assert L3_MUSCLE.ids == {"psoas": 1, "paraspinal": 2, "abdominal_wall": 3}
        assert L3_TISSUE.ids == {"skeletal_muscle": 1, "visceral_fat": 2, "l3_subcutaneous_fat": 3}
        assert L3_SLICE.ids["l3_slice"] == 1

    def test_body_composition_has_the_seven_classes_of_lee_2021(self):
        assert BODY_COMPOSITION.names == (
            "skin",
            "bone",
            "muscle",
            "abdominal_visceral_fat",
            "subcutaneous_fat",
            "internal_organs_and_vessels",
            "central_nervous_system",
        )

    def test_thigh_has_27_muscles_in_five_groups_and_two_bones(self):
        groups = Counter(s.group for s in THIGH_MUSCLES)
        assert groups == {"anterior": 5, "medial": 5, "posterior": 3, "gluteal": 8, "others": 6, "bones": 2}
        assert sum(n for group, n in groups.items() if group != "bones") == 27
        assert [s.name for s in THIGH_MUSCLES if s.group == "bones"] == ["femur", "iliac_bone"]
        assert "psoas_major" in THIGH_MUSCLES
        assert "psoas" not in THIGH_MUSCLES


class TestDefinitions:
    """What an annotator reads (Lee 2021, section 2.2)."""

    def test_every_class_of_body_composition_has_one_sentence(self):
        for s in BODY_COMPOSITION:
            assert s.definition.endswith(".")
            assert ". " not in s.definition, s.name

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("subcutaneous_fat", ("within and between muscles", "inside the chest")),
            ("muscle", ("submandibular", "vessels beyond", "parotids belong to no class")),
            ("bone", ("rib cartilages", "hyoid")),
            ("internal_organs_and_vessels", ("breast", "genitals", "lung and airways belong to no class")),
            ("central_nervous_system", ("eyeballs", "spinal canal")),
        ],
    )
    def test_the_classes_mean_what_the_paper_says(self, name, words):
        assert all(each in BODY_COMPOSITION[name].definition for each in words)

    def test_the_manual_has_the_same_sentences(self):
        manual = (Path(__file__).resolve().parents[2] / "docs" / "body_composition.md").read_text(encoding="utf-8")
        for s in BODY_COMPOSITION:
            assert f"| `{s.name}` | {s.definition} |" in manual


class TestThigh:
    def test_where_psoas_and_iliacus_become_iliopsoas_is_written_at_all_three(self):
        for name in ("psoas_major", "iliacus", "iliopsoas"):
            assert "never both" in THIGH_MUSCLES[name].definition
            assert "at the latest at the roof of the acetabulum" in THIGH_MUSCLES[name].definition

    def test_the_outline_is_shown_with_the_29_and_is_none_of_them(self):
        assert len(THIGH_MUSCLES) == 29
        assert "muscle_compartment" not in THIGH_MUSCLES
        assert THIGH_MUSCLES.shown.names == (*THIGH_MUSCLES.names, "muscle_compartment")
        assert task_of("muscle_compartment") is None

    def test_names_of_guides_are_no_labels(self):
        assert not {name for schema in STORED_SCHEMAS.values() for name in schema.names} & GUIDES

    def test_muscles_whose_places_are_compared_are_muscles_of_the_schema(self):
        for pairs in PLACES.values():
            assert all(THIGH_MUSCLES[name].is_muscle for pair in pairs for name in pair)
