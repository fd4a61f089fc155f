"""The evaluation from a shell: tables by hand, figures, readers, and what cannot be compared."""

from __future__ import annotations

import csv

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread

from lib.anatomy.schemas import L3_SLICE, THIGH_MUSCLES
from lib.evaluation.comparison import CaseComparison, StructureComparison
from lib.stores import CaseStore
from lib.stores.queue_rules import QueueRules
from lib.strategies.next_case import NextCase
from scripts import evaluate
from scripts.command import Stop
from scripts.evaluation.cases import scan_range_of
from scripts.evaluation.outcomes import measurements_of, muscle_groups

AFFINE = np.diag([-2.0, -2.0, 5.0, 1.0])
"""Pixels of 0.04 cm²."""


def write(folder, name, array, affine=AFFINE):
    folder.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), folder / f"{name}.nii.gz")


def rows(out, name):
    with (out / "tables" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def one(table, **wanted):
    (found,) = [row for row in table if all(row[key] == value for key, value in wanted.items())]
    return found


def drawn(psoas):
    """A label whose psoas is so many rows of ten pixels."""
    label = np.zeros((40, 40, 1), np.uint8)
    label[2:12, 2 : 2 + psoas] = 1
    label[20:30, 2:12] = 2
    label[20:30, 20:30] = 3
    return label


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Six cases; one source finds half of the psoas in the first, the other one has no file of the last two."""
    root = tmp_path_factory.mktemp("evaluate")
    (root / "facts.csv").write_text(
        "case;sex;age_years;height_m;weight_kg;variant;almi_kg_m2;sarcopenia\n"
        + "".join(f"c{i};{'MF'[i % 2]};{60 + 4 * i};1,6;{60 + i};;{5 + i / 2};{i % 2}\n" for i in range(6))
    )
    for i in range(6):
        label = drawn(10 + i)
        hu = np.where(label > 0, 40 + i, -100).astype(np.int16)
        write(root / "labels", f"c{i}-label", label)
        write(root / "images", f"c{i}-image", hu)
        write(root / "half", f"c{i}", drawn(5 if i == 0 else 10 + i))
        if i < 4:
            # In another order of the voxels, as other programs write it
            write(root / "other", f"c{i}", drawn(11 + i)[::-1], AFFINE @ _flip(40))
    write(root / "labels", "wrong", np.full((40, 40, 1), 9, np.uint8))
    write(root / "labels", "empty", np.zeros((40, 40, 1), np.uint8))
    out = root / "out"
    arguments = ["l3_muscle", "--labels", str(root / "labels"), "--images", str(root / "images"), "--out", str(out)]
    arguments += ["--versions", f"half={root / 'half'}", f"other={root / 'other'}", "--facts", str(root / "facts.csv")]
    arguments += ["--outcomes", str(root / "facts.csv"), "--measure", "psoas_cm2_m2", "--outcome", "sarcopenia"]
    arguments += ["--cut-off", "psoas_cm2_m2~almi_kg_m2@7", "--call", "psoas_cm2_m2<M:1.7,F:1.9", "--quiet"]
    assert evaluate.main(arguments) == 0
    return out


def _flip(size):
    return np.array([[-1.0, 0, 0, size - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def test_overlap(results):
    psoas = one(rows(results, "overlap"), source="half", structure="psoas")
    assert float(psoas["Dice mean"]) == pytest.approx((2 / 3 + 5) / 6)
    assert float(psoas["worst Dice"]) == pytest.approx(2 / 3)
    assert psoas["worst case"] == "c0"
    assert float(psoas["Dice ≥ 0.90 (%)"]) == pytest.approx(500 / 6)
    assert float(psoas["Hausdorff (mm) mean"]) == pytest.approx(10 / 6)  # five pixels of 2 mm in one of six


def test_agreement(results):
    psoas = one(rows(results, "agreement"), source="other", structure="psoas", quantity="area (cm²)")
    assert (psoas["cases"], float(psoas["bias"])) == ("4", pytest.approx(0.4))
    assert float(psoas["reference mean"]) == pytest.approx(0.4 * 11.5)
    assert "all differences are the same" in psoas["missing"]
    hu = one(rows(results, "agreement"), source="half", structure="psoas", quantity="mean attenuation (HU)")
    assert float(hu["bias"]) == pytest.approx(0)


def test_sources_are_tested_on_the_cases_that_both_have(results):
    psoas = one(rows(results, "paired"), structure="psoas")
    assert (psoas["first"], psoas["second"], psoas["cases"]) == ("half", "other", "4")
    expected = np.mean([2 * (10 + i) / (21 + 2 * i) for i in range(4)]) - (2 / 3 + 3) / 4
    assert float(psoas["difference"]) == pytest.approx(expected)


def test_subgroups(results):
    table = rows(results, "subgroups")
    old = one(table, source="half", structure="psoas", by="age_years, limit 70", group="> 70")
    assert old["Dice cases"] == "3"
    women = one(table, source="half", structure="psoas", by="sex", group="F")
    assert (women["Dice cases"], float(women["Dice mean"])) == ("3", 1.0)


def test_outcomes(results):
    cut_off = one(rows(results, "cut_offs"))
    measured = [0.4 * 5 / 1.6**2, *(0.4 * (10 + i) / 1.6**2 for i in range(1, 6))]
    slope, intercept = np.polyfit([5 + i / 2 for i in range(6)], measured, 1)
    assert float(cut_off["cut-off"]) == pytest.approx(intercept + 7 * slope)
    call = one(rows(results, "diagnosis"))
    # Men c0, c2, c4 have 0.78, 1.88, 2.19; women c1, c3, c5, who have it, 1.72, 2.03, 2.34.
    counts = [call[f"{a} {b}"] for a, b in (("true", "positive"), ("false", "positive"), ("false", "negative"))]
    assert counts == ["1", "1", "2"]
    page = (results / "evaluation.md").read_text()
    assert "There are no ROC curves for sarcopenia" in page


def test_figures_are_pictures(results):
    names = {path.stem for path in (results / "figures").glob("*.png")}
    assert {"box_dice", "agreement_scatter_size", "agreement_bland_altman_hu", "cut_off_1", "heat_map_1"} <= names
    for name in names:
        assert imread(results / "figures" / f"{name}.png").std() > 0.01
        assert (results / "figures" / f"{name}.svg").read_text().startswith("<?xml")


def test_what_was_not_compared_is_named(results):
    with (results / "not_compared.csv").open() as file:
        skipped = {(row["case"], row["source"]): row["reason"] for row in csv.DictReader(file)}
    assert skipped["c5", "other"] == "There is no file of this case."
    assert "value 9" in skipped["wrong", ""]
    assert "empty" in skipped["empty", ""]
    assert "other has no answer for 2 cases" in (results / "evaluation.md").read_text()


def test_one_case_has_dashes_with_their_reasons(tmp_path):
    for name in ("labels", "same"):
        write(tmp_path / name, "only", drawn(10))
    arguments = ["l3_muscle", "--labels", str(tmp_path / "labels"), "--versions", f"same={tmp_path / 'same'}"]
    assert evaluate.main([*arguments, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    psoas = one(rows(tmp_path / "out", "agreement"), structure="psoas")
    assert psoas["Pearson r"] == psoas["ICC(2,1)"] == psoas["lower limit"] == ""
    assert "only one case has a value" in psoas["missing"]
    assert "HU" not in {row["quantity"] for row in rows(tmp_path / "out", "agreement")}  # without an image
    assert " nan" not in (tmp_path / "out" / "evaluation.md").read_text().lower()


def test_readers_are_compared_from_blind_readings_only(tmp_path):
    studies = tmp_path / "studies"
    write(studies, "ann", np.where(drawn(10) > 0, 40, -100).astype(np.int16))
    store = CaseStore(studies)

    def save(label, author):
        write(tmp_path / "saved", author, label)
        info = {"task": "l3_muscle", "client_id": author}
        store.save_label("ann", str(tmp_path / "saved" / f"{author}.nii.gz"), "final", info)

    arguments = ["l3_muscle", "--labels", str(studies), "--out", str(tmp_path / "out"), "--quiet"]
    save(drawn(8), "eva")
    save(drawn(10), "eva")  # a correction
    assert evaluate.main(arguments) == 0
    assert not (tmp_path / "out" / "tables" / "readers_overlap.csv").exists()
    assert NextCase("first", QueueRules(double_read=1.0))({"client_id": "mia"}, store)["id"] == "ann"
    save(drawn(5), "mia")
    assert evaluate.main(arguments) == 0
    psoas = one(rows(tmp_path / "out", "readers_overlap"), structure="psoas")
    assert psoas["source"] == "another reader"
    assert float(psoas["worst Dice"]) == pytest.approx(2 / 3)
    store.close()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--versions", "v0001"], "There is no version v0001"),
        (["--versions", "champion"], "no champion yet"),
        (["--versions", "v1:7"], "names no source"),
        (["--versions", "x=nowhere"], "There is no folder"),
        (["--subgroup", "age>"], "makes no groups"),
        (["--facts", "missing.csv"], "cannot be read"),
    ],
)
def test_bad_arguments_are_one_sentence(tmp_path, more, said):
    write(tmp_path / "labels", "only", drawn(10))
    arguments = ["l3_muscle", "--labels", str(tmp_path / "labels"), "--models", str(tmp_path / "models")]
    with pytest.raises(Stop, match=said):
        evaluate.main([*arguments, *more, "--out", str(tmp_path / "out"), "--quiet"])


def test_a_column_that_is_not_there_is_told_before_anything_is_compared(tmp_path):
    write(tmp_path / "labels", "unread", np.full((4, 4, 1), 9, np.uint8))
    (tmp_path / "outcomes.csv").write_text("case,sarcopenia,sex,age_years\nunread,1,F,70\n")
    arguments = ["l3_muscle", "--labels", str(tmp_path / "labels"), "--outcomes", str(tmp_path / "outcomes.csv")]
    with pytest.raises(Stop, match="no column psoas_cm3"):
        evaluate.main([*arguments, "--measure", "psoas_cm3", "--out", str(tmp_path / "out"), "--quiet"])
    assert evaluate.main([*arguments, "--measure", "*_cm2", "--out", str(tmp_path / "out"), "--quiet"]) == 0


def test_groups_of_muscles_are_measurements_too():
    sizes = {"sartorius": 100.0, "rectus_femoris": 200.0}
    names = muscle_groups(THIGH_MUSCLES)["anterior_muscles"]
    one = {
        name: StructureComparison(
            quality=None, reference_size=0, found_size=sizes.get(name, 10.0), reference_hu=None, found_hu=None
        )
        for name in names
    }
    case = CaseComparison(case="a", source="s", structures=one)
    row = measurements_of([case], THIGH_MUSCLES, "cm3", {"a": {"height_m": "2"}})["a"]
    assert float(row["anterior_muscles_cm3_m2"]) == (300 + 10 * (len(names) - 2)) / 4
    assert "medial_muscles_cm3" not in row


@pytest.mark.parametrize(
    ("marked", "above", "said"),
    [
        ({"vertebra_L3": 6, "vertebra_L2": 6}, 2, "below T12"),
        ({"vertebra_L3": 6, "vertebra_L2": 6}, 9, ""),
        ({"vertebra_T12": 6, "vertebra_L1": 6}, 20, "T12 or above"),
        ({"l3_slice": 1}, 2, ""),
    ],
)
def test_the_scan_range_comes_from_the_marked_vertebrae(tmp_path, marked, above, said):
    """On a volume that is stored head first."""
    label = np.zeros((4, 5, above + sum(marked.values())), np.uint8)
    first = above
    for name, height in reversed(marked.items()):
        label[1:3, 1:3, first : first + height] = L3_SLICE.ids[name]
        first += height
    studies = tmp_path / "studies"
    affine = np.diag([2.0, -2.0, -5.0, 1.0])
    write(studies, "ann", np.zeros(label.shape, np.int16), affine)
    write(tmp_path, "label", label, affine)
    store = CaseStore(studies)
    info = {"task": "l3_slice", "client_id": "eva"}
    store.save_label("ann", str(tmp_path / "label.nii.gz"), "final", info)
    assert scan_range_of(store.current_revision("ann", "l3_slice")) == said
    assert scan_range_of(None) == ""
    store.close()


def test_there_has_to_be_something_to_evaluate(tmp_path):
    (tmp_path / "labels").mkdir()
    with pytest.raises(Stop, match="no label of l3_muscle"):
        evaluate.main(["l3_muscle", "--labels", str(tmp_path / "labels"), "--out", str(tmp_path / "out")])
    with pytest.raises(Stop, match="nothing to evaluate"):
        evaluate.main(["l3_muscle", "--out", str(tmp_path / "out")])


def test_slices_of_one_patient_are_said_to_be_no_independent_cases(tmp_path):
    label = np.repeat(drawn(10), 3, axis=2)
    label[..., 2] = 0
    for name in ("labels", "same"):
        write(tmp_path / name, "two_slices", label)
    arguments = [
        "l3_muscle",
        "--labels",
        str(tmp_path / "labels"),
        "--versions",
        f"same={tmp_path / 'same'}",
        "--quiet",
    ]
    assert evaluate.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert one(rows(tmp_path / "out", "overlap"), structure="psoas")["cases"] == "2"
    assert "They are of 1 patients" in (tmp_path / "out" / "evaluation.md").read_text()
    assert evaluate.main([*arguments, "--own-slice", "--out", str(tmp_path / "own")]) == 0
    assert "does not tell which" in (tmp_path / "own" / "evaluation.md").read_text()


def test_the_slice_of_l3_in_millimetres(tmp_path):
    """Right in one case, two slices of 5 mm off in the other."""
    for name, at in (("c0", 3), ("c1", 5)):
        truth, found = np.zeros((2, 20, 20, 9), np.uint8)
        truth[4, 4, 3], found[9, 9, at] = 1, 1  # wherever on the slice
        write(tmp_path / "labels", name, truth)
        write(tmp_path / "found", name, found)
    (tmp_path / "facts.csv").write_text("case,variant\nc0,normal\nc1,sacralisation\n")
    arguments = ["l3_slice", "--labels", str(tmp_path / "labels"), "--versions", f"a={tmp_path / 'found'}", "--quiet"]
    arguments += ["--facts", str(tmp_path / "facts.csv"), "--out", str(tmp_path / "out")]
    assert evaluate.main(arguments) == 0
    table = rows(tmp_path / "out", "levels")
    assert float(one(table, group="normal anatomy")["distance (mm) mean"]) == 0
    variant = one(table, group="sacralisation")
    assert float(variant["distance (mm) mean"]) == 10
    assert float(variant["within 10 mm (%)"]) == 0  # Ha 2021: below 10 mm
    assert (tmp_path / "out" / "figures" / "levels.svg").exists()


def test_outcomes_take_a_case_once_with_the_means_of_its_slices(tmp_path):
    psoas = {"a": (8, 10), "b": (10, 13), "c": (12, 16)}  # 9, 11.5 and 14 in the mean
    for name, areas in psoas.items():
        label = np.concatenate([drawn(each) for each in areas], axis=2)
        write(tmp_path / "labels", name, label)
        write(tmp_path / "images", name, np.where(label > 0, 40, -100).astype(np.int16))
    (tmp_path / "outcomes.csv").write_text(
        "case,sex,height_m,grip_kg\na,F,1.6,18\nb,F,1.7,23\nc,F,1.5,28\nd,F,1.5,31\n"
    )
    arguments = ["l3_muscle", "--labels", str(tmp_path / "labels"), "--images", str(tmp_path / "images"), "--quiet"]
    arguments += ["--versions", f"same={tmp_path / 'labels'}", "--outcomes", str(tmp_path / "outcomes.csv")]
    assert evaluate.main([*arguments, "--measure", "psoas_cm2", "--out", str(tmp_path / "out")]) == 0
    found = [row for row in rows(tmp_path / "out", "correlations") if row["with"] == "grip_kg"]
    assert [row["cases"] for row in found] == ["3"]
    assert float(found[0]["Pearson r"]) == pytest.approx(1)
    page = (tmp_path / "out" / "evaluation.md").read_text()
    assert "1 rows of the outcomes name no measured case, such as d." in page
    assert "Where a label is on several slices, these are their means." in page
    assert "They are of 3 patients" in page


def test_what_is_known_of_nobody_is_a_dash_and_not_the_end(tmp_path):
    """Heights and ages are looked for in the images as well, so that they are missed only when all were compared."""
    for name in ("a", "b", "c"):
        write(tmp_path / "labels", name, drawn(10))
        write(tmp_path / "images", name, np.where(drawn(10) > 0, 40, -100).astype(np.int16))
    (tmp_path / "outcomes.csv").write_text("case,frail\na,1\nb,0\nc,1\n")
    arguments = ["l3_muscle", "--labels", str(tmp_path / "labels"), "--images", str(tmp_path / "images"), "--quiet"]
    arguments += ["--versions", f"same={tmp_path / 'labels'}", "--outcomes", str(tmp_path / "outcomes.csv")]
    arguments += ["--measure", "psoas_cm2_m2", "--outcome", "frail", "--out", str(tmp_path / "out")]
    assert evaluate.main(arguments) == 0
    assert {row["odds ratio"] for row in rows(tmp_path / "out", "logistic")} == {""}
    assert (tmp_path / "out" / "figures" / "box_dice.png").is_file()
