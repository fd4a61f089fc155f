"""AMOS22 and TotalSegmentator: what becomes a label, what only a beginning of one, and a mapping that can be edited."""

from __future__ import annotations

import csv
import io
import json

import nibabel as nib
import numpy as np
import pytest

from lib.anatomy.schemas import BODY_COMPOSITION, L3_MUSCLE, L3_SLICE, L3_TISSUE
from lib.datasets.mapping import by_source, mapping_csv, mapping_of, read_mapping
from lib.images.files import read_volume
from lib.refusals import Refusal
from lib.stores import FINAL, CaseStore
from scripts import import_cases
from tests.datasets.conftest import flipped, write_nifti
from tests.stores.conftest import AFFINE

SHAPE = (20, 20, 12)


def masks():
    """The bodies of L4, L3 and L2 from foot to head, L3 with a process that reaches down; muscles along all of them."""
    found = {name: np.zeros(SHAPE, np.uint8) for name in ("vertebrae_L4", "vertebrae_L3", "vertebrae_L2")}
    found["vertebrae_L4"][8:12, 8:12, 0:4] = 1
    found["vertebrae_L3"][8:12, 8:12, 4:8] = 1
    found["vertebrae_L3"][9:11, 4:6, 2:8] = 1
    found["vertebrae_L2"][8:12, 8:12, 8:12] = 1
    for name, columns in (("autochthon_left", slice(2, 6)), ("autochthon_right", slice(14, 18))):
        found[name] = np.zeros(SHAPE, np.uint8)
        found[name][columns, 2:4, :] = 1
    found["iliopsoas_left"] = np.zeros(SHAPE, np.uint8)
    found["iliopsoas_left"][4:6, 8:11, :] = 1
    found["skeletal_muscle"] = found["autochthon_left"] | found["iliopsoas_left"]
    found["liver"] = np.zeros(SHAPE, np.uint8)
    found["liver"][15:, 15:, 5:] = 1
    return found


def upright(array):
    """Whether an array is turned by nothing: its last axis runs from foot to head, or reversed."""
    return array if nib.aff2axcodes(AFFINE)[2] == "S" else array[:, :, ::-1]


@pytest.fixture(params=["as it is", "upside down"])
def total(request, tmp_path):
    """One case, with the array of its files in either direction."""
    folder = tmp_path / "Totalsegmentator" / "s0001"
    turn = request.param == "upside down"
    affine = flipped(AFFINE, SHAPE, 2) if turn else AFFINE

    def write(path, array):
        write_nifti(path, upright(array)[:, :, :: -1 if turn else 1], affine)

    write(folder / "ct.nii.gz", np.random.default_rng(0).integers(-1000, 400, SHAPE).astype(np.int16))
    for name, mask in masks().items():
        write(folder / "segmentations" / f"{name}.nii.gz", mask)
    write(folder / "segmentations" / "vertebrae_T1.nii.gz", np.zeros(SHAPE, np.uint8))
    (folder.parent / "meta.csv").write_text("image_id;age;gender;institute\ns0001;63;m;I\n")
    return folder.parent


def in_body_order(path):
    array, affine, _ = read_volume(path)
    return array if nib.aff2axcodes(affine)[2] == "S" else array[:, :, ::-1]


def test_totalsegmentator(total, empty):
    assert import_cases.main([str(total), "--studies", str(empty)]) == 0
    store = CaseStore(empty)
    (spine,) = store.current_labels("l3_slice")
    array = in_body_order(spine.path)
    for level in ("L2", "L3", "L4"):
        expected = masks()[f"vertebrae_{level}"] > 0
        if level == "L4":
            expected &= masks()["vertebrae_L3"] == 0
        assert np.array_equal(array == L3_SLICE.ids[f"vertebra_{level}"], expected)
    assert (spine.author, spine.client_id, spine.model) == ("TotalSegmentator", "import_cases", "")
    assert spine.info["dataset"] == "TotalSegmentator"
    assert spine.partial
    # What lacks quadratus lumborum, or is one mask with the iliacus, is a beginning: nothing learns from it.
    assert store.current_labels("l3_muscle") == store.current_labels("l3_tissue") == []
    assert "s0001" in store.get_unlabeled_images("l3_muscle")
    by_task = {each.task: each for each in store.revisions("s0001") if each.tag == "original"}
    assert by_task.keys() == {"l3_muscle", "l3_tissue"}
    muscle = in_body_order(by_task["l3_muscle"].path)
    assert np.flatnonzero(muscle.any(axis=(0, 1))).tolist() == [4]  # the lowest slice of the body, not of the process
    sides = masks()["autochthon_left"] | masks()["autochthon_right"]
    assert np.array_equal(muscle[:, :, 4] == L3_MUSCLE.ids["paraspinal"], sides[:, :, 4] > 0)
    assert np.array_equal(muscle[:, :, 4] == L3_MUSCLE.ids["psoas"], masks()["iliopsoas_left"][:, :, 4] > 0)
    tissue = in_body_order(by_task["l3_tissue"].path)
    assert np.array_equal(tissue[:, :, 4] == L3_TISSUE.ids["skeletal_muscle"], masks()["skeletal_muscle"][:, :, 4] > 0)
    assert (store.case_facts("s0001").sex, store.case_facts("s0001").age_years) == ("M", 63)
    count = len(store.revisions("s0001"))
    store.close()
    assert import_cases.main([str(total), "--studies", str(empty)]) == 0
    store = CaseStore(empty)
    assert len(store.revisions("s0001")) == count
    store.close()


def test_without_a_whole_l3_there_is_no_slice(total, empty, capsys):
    (total / "s0001" / "segmentations" / "vertebrae_L3.nii.gz").unlink()
    assert import_cases.main([str(total), "--studies", str(empty)]) == 0
    assert "The slice of L3 cannot be told" in capsys.readouterr().out
    store = CaseStore(empty)
    assert [each.task for each in store.revisions("s0001")] == ["l3_slice"]
    store.close()


def test_an_edited_mapping_counts(total, empty, tmp_path, capsys):
    assert import_cases.main([str(total), "--show-mapping"]) == 0
    shown = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert all(row["why"] for row in shown)
    for row in shown:
        row["use"] = "final" if row["source"].startswith("iliopsoas") else ""
    shown.append(
        {"source": "liver", "structure": "internal_organs_and_vessels", "use": "original", "slices": "all", "why": ""}
    )
    with (tmp_path / "mapping.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, shown[0].keys())
        writer.writeheader()
        writer.writerows(shown)
    arguments = [str(total), "--studies", str(empty), "--mapping", str(tmp_path / "mapping.csv")]
    assert import_cases.main(arguments) == 0
    assert "The slice of L3 cannot be told" in capsys.readouterr().out  # vertebrae were left out
    for row in shown:
        row["slices"] = "all"
    with (tmp_path / "mapping.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, shown[0].keys())
        writer.writeheader()
        writer.writerows(shown)
    assert import_cases.main(arguments) == 0
    store = CaseStore(empty)
    (muscle,) = store.current_labels("l3_muscle")
    assert muscle.names == ("psoas",)
    assert {each.task for each in store.revisions("s0001")} == {"l3_muscle", "body_composition"}
    store.close()


def test_amos(empty, tmp_path, capsys):
    root = tmp_path / "amos22"
    hu = np.random.default_rng(1).integers(-1000, 400, SHAPE).astype(np.int16)
    label = np.zeros(SHAPE, np.uint8)
    label[2:6, 2:6, 2:6], label[10:12, 10:12, 2:6], label[14:16, 2, 2] = 1, 6, 16
    write_nifti(root / "imagesTr" / "amos_0001.nii.gz", hu, AFFINE)
    write_nifti(root / "labelsTr" / "amos_0001.nii.gz", label, AFFINE)
    write_nifti(root / "imagesTs" / "amos_0002.nii.gz", hu + np.int16(1), AFFINE)
    names = {"0": "background", "1": "spleen", "6": "liver", "16": "something new"}
    about = {"name": "AMOS", "modality": {"0": "CT"}, "labels": names, "training": []}
    (root / "dataset.json").write_text(json.dumps(about))
    assert import_cases.main([str(root), "--studies", str(empty)]) == 0
    assert "The mapping has no line for something new" in capsys.readouterr().out
    store = CaseStore(empty)
    assert store.list_images() == ["amos_0001", "amos_0002"]
    (organs,) = store.revisions("amos_0001")
    assert (organs.task, organs.tag, organs.author) == ("body_composition", "original", "AMOS")
    array = read_volume(organs.path)[0]
    number = BODY_COMPOSITION.ids["internal_organs_and_vessels"]
    assert np.array_equal(array == number, (label == 1) | (label == 6))
    assert store.get_labeled_images(FINAL) == []
    store.close()


class TestMappings:
    @pytest.mark.parametrize("layout", ["totalsegmentator", "nnunet"])
    def test_what_is_shown_is_what_is_read(self, layout, tmp_path):
        (tmp_path / "mapping.csv").write_text(mapping_csv(mapping_of(layout)))
        assert read_mapping(tmp_path / "mapping.csv") == mapping_of(layout)

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("x,psoa,final,all,", "line 2: there is no structure 'psoa'"),
            ("x,psoas,label,all,", "line 2: use is final, original or empty"),
            ("x,psoas,final,L4,", "line 2: use is final"),
            (",psoas,final,all,", "line 2: the column source is empty"),
            ("x,psoas,final,all,\nx,paraspinal,final,all,", "two meanings: psoas and paraspinal"),
        ],
    )
    def test_a_line_that_makes_no_sense_is_named(self, line, said, tmp_path):
        (tmp_path / "mapping.csv").write_text(f"source,structure,use,slices,why\n{line}\n")
        with pytest.raises(Refusal, match=said):
            read_mapping(tmp_path / "mapping.csv")

    def test_a_table_of_something_else_is_told_from_a_mapping(self, tmp_path):
        (tmp_path / "mapping.csv").write_text("case,sex\nann,F\n")
        with pytest.raises(Refusal, match="has no column source, structure, use"):
            read_mapping(tmp_path / "mapping.csv")

    def test_a_name_may_stand_for_structures_of_several_tasks(self, tmp_path):
        text = "source,structure,use\nhip,iliac_bone,final\nhip,bone,original\n"
        (tmp_path / "mapping.csv").write_text(text)
        assert len(by_source(read_mapping(tmp_path / "mapping.csv"))["hip"]) == 2
