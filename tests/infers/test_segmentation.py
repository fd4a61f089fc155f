"""What an answer says of the image that it was given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lib.cold_start.answers import Answer
from lib.images import CTImage, PatientFacts
from lib.images.files import write_ct
from lib.infers.segmentation import CASE_FACTS, SegmentationTask
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
        _, params = SegmentationTask(row)({"image": str(tmp_path / "ct.nii"), CASE_FACTS: facts, "phantom": False})
        return params["warnings"]

    return _infer


@pytest.mark.parametrize(("in_file", "in_store"), [(True, False), (False, True)])
def test_the_answer_for_a_phantom_says_so(infer, in_file, in_store):
    assert SAYS_SO in infer(in_file=in_file, in_store=in_store)


def test_the_answer_for_a_patient_does_not(infer):
    assert SAYS_SO not in infer(in_file=False, in_store=False)
