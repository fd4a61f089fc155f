"""Body composition of the real CT, as a client gets it; what was seen on its slices is written here."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import pytest

from lib.anatomy.schemas import BODY_COMPOSITION
from lib.images import PatientFacts
from lib.infers.segmentation import CASE_FACTS, SAVED_LABELS, SegmentationTask
from lib.tasks import TASKS

LAST_WITH_CREST, FIRST_WITH_LAST_RIB = 60, 89


@pytest.fixture(scope="module")
def task():
    return SegmentationTask(TASKS["body_composition"])


@pytest.fixture(scope="module")
def answer(task, real_ct_path, tmp_path_factory):
    """The params and the label that came with them."""
    facts = PatientFacts(height_m=1.7, sex="M", contrast=False)
    file, params = task({"image": str(real_ct_path), CASE_FACTS: facts, "weight_kg": "700", "overlay": "yes"})
    kept = tmp_path_factory.mktemp("answer") / "label.nii.gz"
    shutil.move(file, kept)
    return params, kept


def test_the_waist_is_where_an_eye_sees_it(answer):
    waist = answer[0]["measurements"]["waist"]
    assert waist["slices"] == [pytest.approx(LAST_WITH_CREST + 1, abs=1), pytest.approx(FIRST_WITH_LAST_RIB - 1, abs=1)]
    assert 120 < waist["area_cm2"]["muscle"] < 180
    assert base64.b64decode(answer[0]["overlay"].partition(",")[2]).startswith(b"\x89PNG")


def test_what_the_image_does_not_show_is_said_and_not_guessed(answer):
    measurements, warnings = answer[0]["measurements"], answer[0]["warnings"]
    assert measurements["torso"]["missing"] == ["neck", "mid-thigh"]
    assert measurements["indices"]["torso_smi_cm3_m2"] is None
    assert measurements["torso"]["volume_cm3"]["muscle"] == pytest.approx(
        measurements["regions"]["muscle"]["volume_cm3"], rel=0.01
    )
    # its sides are cut off
    assert measurements["waist"]["area_cm2"]["body_fat"] is None
    assert measurements["waist"]["circumference_cm"] is None
    assert all(sentence in warnings for sentence in measurements["not_measured"].values())


def test_an_absurd_weight_is_left_out_with_a_sentence_and_the_height_still_counts(answer):
    assert any("700" in sentence for sentence in answer[0]["warnings"])
    indices = answer[0]["measurements"]["indices"]
    assert indices["bmi_kg_m2"] is None
    assert indices["waist_smi_cm2_m2"] > 30
    assert {call["cutoff"] for call in answer[0]["measurements"]["calls"]} == {"lee_2021_smi"}


def test_the_label_that_an_annotator_saved_is_measured_too(task, answer, real_ct_path):
    params, label = answer
    again, with_saved = task({"image": str(real_ct_path), SAVED_LABELS: {"body_composition": label}})
    Path(again).unlink()
    saved = with_saved["measurements"]["saved_label"]
    for name in ("waist", "torso", "regions"):
        assert saved[name] == params["measurements"][name]


def test_info_says_what_belongs_to_each_class(task):
    assert task.info()["definitions"] == {s.name: s.definition for s in BODY_COMPOSITION}
    assert {"weight_kg", "height_m", "sex", "contrast"} <= task.config().keys()
