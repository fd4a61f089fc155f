"""What an answer says of the image that it was given."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.cold_start.answers import Answer
from lib.images import CTImage, PatientFacts
from lib.images.files import write_ct
from lib.infers.segmentation import CASE_FACTS, SegmentationTask
from lib.refusals import Refusal
from lib.tasks import TASKS

SAYS_SO = "This case is a digital phantom."


@pytest.fixture
def infer(tmp_path):
    """Answers a small CT with an empty label, and gives the warnings."""

    def _infer(*, in_file: bool, in_store: bool) -> list[str]:
        hu = np.full((8, 8, 4), 40, np.int16)
        hu[:4] = -1000
        write_ct(tmp_path / "ct.nii", CTImage(hu=hu, affine=np.eye(4), facts=PatientFacts(phantom=in_file)))
        row = replace(
            TASKS["l3_muscle"],
            cold_start=lambda image, _: Answer(label=image.hu * 0, method="none", slice_index=1, doubt=0),
        )
        facts = PatientFacts(phantom=True if in_store else None)
        _, params = SegmentationTask(row)(
            {"image": str(tmp_path / "ct.nii"), CASE_FACTS: facts, "phantom": False, "slice_index": "0"}
        )
        return params["warnings"]

    return _infer


@pytest.mark.parametrize(("in_file", "in_store"), [(True, False), (False, True)])
def test_the_answer_for_a_phantom_says_so(infer, in_file, in_store):
    assert SAYS_SO in infer(in_file=in_file, in_store=in_store)


def test_the_answer_for_a_patient_does_not(infer):
    assert SAYS_SO not in infer(in_file=False, in_store=False)


class TestOverlay:
    @pytest.fixture
    def ct(self, tmp_path):
        hu = np.full((40, 40, 12), -1000, np.int16)
        hu[5:35, 10:30] = 40
        write_ct(tmp_path / "ct.nii", CTImage(hu=hu, affine=np.diag([-8.0, -8, -10, 1])))
        return tmp_path / "ct.nii"

    @pytest.fixture
    def task(self):
        row = replace(
            TASKS["l3_muscle"],
            cold_start=lambda image, _: Answer(label=image.hu * 0, method="none", slice_index=2, doubt=0),
        )
        return SegmentationTask(row)

    def test_a_picture_comes_with_the_answer_where_it_was_asked_for(self, ct, task):
        file, params = task({"image": str(ct), "overlay": "yes", "slice_index": "9"})
        Path(file).unlink()
        kind, _, data = params["overlay"].partition(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert picture.format == "PNG"
        assert params["slice_index"] == 9
        file, params = task({"image": str(ct), "slice_index": "9"})
        Path(file).unlink()
        assert "overlay" not in params

    def test_the_answer_itself_can_be_the_picture(self, ct, task):
        file, params = task({"image": str(ct), "result_extension": ".png", "slice_index": "9"})
        with Image.open(file) as picture:
            assert picture.format == "PNG"
        Path(file).unlink()
        assert "overlay" not in params

    def test_a_picture_is_no_label(self, ct, task):
        with pytest.raises(Refusal, match="cannot be saved"):
            task({"image": str(ct), "result_extension": ".png", "save_label": True})

    def test_an_answer_for_the_whole_volume_has_none(self, ct):
        row = replace(
            TASKS["thigh_muscles"], cold_start=lambda image: Answer(label=image.hu * 0, method="none", doubt=0)
        )
        with pytest.raises(Refusal, match="no slice to draw"):
            SegmentationTask(row)({"image": str(ct), "overlay": "yes"})
        assert "overlay" not in SegmentationTask(row).config()
