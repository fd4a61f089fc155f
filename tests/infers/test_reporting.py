"""The report of a case says whose label it is of, what was measured, and what must not be overlooked."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from lib.anatomy.cutoffs import CUTOFFS
from lib.anatomy.schemas import L3_MUSCLE, L3_SLICE, L3_TISSUE, SARCOPENIA
from lib.cold_start.answers import Answer
from lib.images import CTImage, PatientFacts
from lib.infers.reporting import report_of_answer, report_of_labels
from lib.infers.segmentation import Analysis
from lib.measures.composition import measure
from lib.measures.indices import judge
from lib.refusals import Refusal
from lib.reports.case_report import L3_CUTOFFS, agreement_text, check_cutoffs
from lib.reports.case_report_pages import report_html, report_pdf, report_png
from lib.stores import CaseStore

# Foot to head is the first axis and runs downwards; left to right is the last. A voxel's face is 0.01 cm² x 72.
AFFINE = np.array([[0, 0, 9.0, -30.0], [0, 8.0, 0, -70.0], [-5.0, 0, 0, 300.0], [0, 0, 0, 1]])
SHAPE = (6, 20, 16)
FACE_CM2 = 0.72


@pytest.fixture
def store(tmp_path):
    hu = np.full(SHAPE, 40, np.int16)
    hu[:, :2] = -1000
    nib.save(nib.Nifti1Image(hu, AFFINE), tmp_path / "ann.nii.gz")
    store = CaseStore(tmp_path)
    store.update_image_info("ann", {"height_m": 1.5, "sex": "F"})
    return store


def save(store, tmp_path, schema, boxes, *, index=2, **info):
    label = np.zeros(SHAPE, np.uint8)
    for name, box in boxes.items():
        label[(index, *box)] = schema.ids[name]
    path = tmp_path / "label.nii.gz"
    nib.save(nib.Nifti1Image(label, AFFINE), path)
    store.save_label("ann", str(path), "final", {"task": schema.task, "client_id": "eva <b>", **info})
    path.unlink()
    return store.current_revision("ann", schema.task)


def muscle(store, tmp_path, **info):
    boxes = {
        "psoas": np.s_[3:5, 3:8],
        "paraspinal": np.s_[6:9, 3:8],
        "abdominal_wall": np.s_[10:15, 3:8],
    }
    return save(store, tmp_path, L3_MUSCLE, boxes, **info)


def numbers(report) -> dict[str, str]:
    return {number.name: number.value for number in report.numbers}


def test_a_saved_label_is_reported_with_who_saved_it(store, tmp_path):
    revision = muscle(store, tmp_path)
    report = report_of_labels(store, "ann", {"l3_muscle": revision})
    assert "revision 1, saved by eva <b>" in report.origin.label
    assert report.origin.reviewed
    assert "slice 2 (0 to 5)" in report.slice_text
    # 10 + 15 + 25 pixels by hand, over 1.5² m²
    assert numbers(report)["Skeletal muscle area (−29 to 150 HU)"] == f"{50 * FACE_CM2:.1f} cm²"
    assert numbers(report)["Skeletal muscle index (−29 to 150 HU)"] == f"{50 * FACE_CM2 / 2.25:.1f} cm²/m²"
    assert numbers(report)["Visceral fat area"] == "-"
    assert ("doyle_2013_visceral_fat", "no visceral fat area was measured") in report.not_judged


def test_the_slice_on_the_page_is_the_labelled_one_whatever_the_axes(store, tmp_path):
    report = report_of_labels(store, "ann", {"l3_muscle": muscle(store, tmp_path)})
    _plain, marked, front = report.panels
    assert np.count_nonzero(marked.label == L3_MUSCLE.ids["psoas"]) == 10
    assert front.line == 3  # slice 2 of 6 from the head is the fourth from the foot


def test_of_several_slices_the_one_that_is_marked_as_l3_is_reported(store, tmp_path):
    label = np.zeros(SHAPE, np.uint8)
    label[2, 3:5, 3:8] = label[4, 3:9, 3:8] = L3_MUSCLE.ids["psoas"]
    nib.save(nib.Nifti1Image(label, AFFINE), tmp_path / "label.nii.gz")
    info = {"task": "l3_muscle", "client_id": "eva"}
    store.save_label("ann", str(tmp_path / "label.nii.gz"), "final", info)
    revisions = {"l3_muscle": store.current_revision("ann", "l3_muscle")}
    most = report_of_labels(store, "ann", revisions)
    assert "slice 4" in most.slice_text
    assert any("2 slices (2 to 4) are labelled; the one with most of it" in said for said in most.warnings)
    save(store, tmp_path, L3_SLICE, {"l3_slice": np.s_[5:6, 5:6]}, index=2)
    marked = report_of_labels(store, "ann", revisions)
    assert marked.slice_text.startswith("L3, as somebody marked it: slice 2")
    assert numbers(marked)["Psoas as drawn"].startswith(f"{10 * FACE_CM2:.1f} cm²")


def test_what_a_request_could_say_is_not_on_the_page(store, tmp_path):
    store.update_image_info("ann", {"height_m": None})
    report = report_of_labels(store, "ann", {"l3_muscle": muscle(store, tmp_path)})
    assert any(said.startswith("The height is not known") for said in report.warnings)
    assert "params" not in report_html(report)


def test_labels_of_muscle_and_fat_on_one_slice_share_a_page(store, tmp_path):
    revisions = {
        "l3_muscle": muscle(store, tmp_path),
        "l3_tissue": save(store, tmp_path, L3_TISSUE, {"visceral_fat": np.s_[15:17, 3:8]}),
    }
    report = report_of_labels(store, "ann", revisions)
    assert numbers(report)["Visceral fat area"] == f"{10 * FACE_CM2:.1f} cm²"
    assert numbers(report)["Psoas as drawn"].startswith(f"{10 * FACE_CM2:.1f} cm²")
    assert any("l3_tissue is partial" in warning for warning in report.warnings)


def test_a_label_on_another_slice_is_left_out_with_a_word(store, tmp_path):
    fat = save(store, tmp_path, L3_TISSUE, {"visceral_fat": np.s_[15:17, 3:8]}, index=4)
    report = report_of_labels(store, "ann", {"l3_muscle": muscle(store, tmp_path), "l3_tissue": fat})
    assert numbers(report)["Visceral fat area"] == "-"
    assert any("on another slice" in warning for warning in report.warnings)


def test_muscle_and_fat_on_several_slices_share_the_page_of_a_slice_that_both_are_on(store, tmp_path):
    drawn = {
        L3_MUSCLE: {2: np.s_[3:5, 3:8], 3: np.s_[3:6, 3:8], 4: np.s_[3:9, 3:8]},
        L3_TISSUE: {2: np.s_[15:18, 3:8], 3: np.s_[15:17, 3:8]},
    }
    revisions = {}
    for schema, slices in drawn.items():
        label = np.zeros(SHAPE, np.uint8)
        for index, where in slices.items():
            label[index][where] = schema.ids["psoas" if schema is L3_MUSCLE else "visceral_fat"]
        nib.save(nib.Nifti1Image(label, AFFINE), tmp_path / "label.nii.gz")
        store.save_label("ann", str(tmp_path / "label.nii.gz"), "final", {"task": schema.task, "client_id": "eva"})
        revisions[schema.task] = store.current_revision("ann", schema.task)
    report = report_of_labels(store, "ann", revisions)
    assert "slice 3" in report.slice_text
    assert numbers(report)["Psoas as drawn"].startswith(f"{15 * FACE_CM2:.1f} cm²")
    assert numbers(report)["Visceral fat area"] == f"{10 * FACE_CM2:.1f} cm²"
    save(store, tmp_path, L3_SLICE, {"l3_slice": np.s_[5:6, 5:6]}, index=4)
    marked = report_of_labels(store, "ann", revisions)
    assert "slice 4" in marked.slice_text
    assert numbers(marked)["Visceral fat area"] == "-"
    assert any("l3_tissue is on another slice" in warning for warning in marked.warnings)


def test_a_label_begun_with_a_model_of_phantoms_says_so(store, tmp_path):
    store.learnt_from_phantoms = lambda model, version: version == "v0001"
    revision = muscle(store, tmp_path, model="l3_muscle", model_version="v0001")
    report = report_of_labels(store, "ann", {"l3_muscle": revision})
    assert any("digital phantoms" in warning for warning in report.warnings)
    assert "digital phantoms" in report_html(report)


def answered(*, facts: PatientFacts, warnings=()):
    image = CTImage(hu=np.full(SHAPE, 40, np.int16), affine=AFFINE, facts=facts)
    label = np.zeros(image.canonical().shape, np.uint8)
    label[3:9, 5:9, 3] = SARCOPENIA.ids["psoas"]
    label[3:9, 9:12, 3] = SARCOPENIA.ids["visceral_fat"]
    answer = Answer(label=label, method="thresholds", slice_index=3, level="L3", doubt=0.2)
    own = image.from_canonical(label)
    composition = measure(image, own, SARCOPENIA, slice_index=2)
    params = {"slice_index": 2, "uncertainty": {"score": 0.2}, "warnings": list(warnings)}
    analysis = Analysis(
        answer=answer,
        label=own,
        params=params,
        facts=facts,
        schema=SARCOPENIA,
        composition=composition,
        judgement=judge(composition, facts),
        overlay=None,
    )
    return report_of_answer("case $x$ <script>", image, analysis)


def test_an_answer_says_that_nobody_has_looked_at_it_and_a_phantom_that_it_is_one():
    report = answered(facts=PatientFacts(sex="M", height_m=1.8, phantom=True))
    page = report_html(report)
    assert "nobody has looked at it" in page
    assert "Digital phantom, not a patient." in page
    assert "For research use only." in page
    assert "<script>" not in page
    assert "http://" not in page
    assert 'src="/' not in page


def test_ranges_are_only_the_published_ones_of_this_sex():
    ranges = {number.name: number.reference for number in answered(facts=PatientFacts(sex="M")).numbers}
    assert ranges["Skeletal muscle area (−29 to 150 HU)"].startswith("≥ 134 (5th percentile; van der Werf 2018)")
    assert ranges["Visceral fat area"] == "none published for healthy people"
    unknown = {number.name: number.reference for number in answered(facts=PatientFacts()).numbers}
    assert unknown["Skeletal muscle area (−29 to 150 HU)"] == "differs by sex, which is not known"
    assert {each.name for each in CUTOFFS if each.of_healthy} == {
        f"{source}_{what}"
        for source in ("derstine_2018", "van_der_werf_2018")
        for what in ("smi", "sma", "attenuation")
    }


def test_only_the_chosen_cut_offs_judge(store, tmp_path):
    report = report_of_labels(store, "ann", {"l3_muscle": muscle(store, tmp_path)}, cutoffs=["prado_2008_smi"])
    assert [call.cutoff for call in report.calls] == ["prado_2008_smi"]
    assert report.calls[0].comparison == "16.0 (cut-off < 38.5 cm²/m²)"
    assert report.calls[0].is_abnormal
    assert check_cutoffs([]) == L3_CUTOFFS
    with pytest.raises(Refusal, match="prado_2008_smi"):
        check_cutoffs(["prado"])


def test_folds_are_said_to_agree_only_where_there_are_several():
    several = {"score": 0.1, "folds": 5, "classes": {"psoas": {"dice": 0.9}}}
    assert agreement_text(several, "ensemble") == "mean Dice between every two of 5 folds: psoas 0.900"
    assert "no folds to compare" in agreement_text({**several, "folds": 1}, "single_fold")


def test_the_pdf_is_one_page_of_a4_and_always_the_same(tmp_path):
    many = [
        f"Warning number {n} of a case about which a great deal has to be said to whoever reads it." for n in range(90)
    ]
    report = answered(facts=PatientFacts(sex="F", height_m=1.6, weight_kg=60), warnings=many)
    pdf = report_pdf(report)
    assert pdf == report_pdf(report)
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") == 1
    assert b"/MediaBox [ 0 0 595.44 841.68 ]" in pdf
    assert "Warning number 89" in report_html(report)
    (tmp_path / "page.png").write_bytes(report_png(report, dpi=50))
    page = np.asarray(Image.open(tmp_path / "page.png").convert("L"))
    assert (page[-12:] == 255).all(), "nothing runs off the page"
    assert (page[:, -15:] == 255).all()
