"""The task table names every task once, and what is not there yet says so."""

from dataclasses import replace

import numpy as np
import pytest

from lib.anatomy.schemas import SCHEMAS
from lib.images import CTImage
from lib.refusals import Refusal
from lib.tasks import ANSWERING_TASKS, STORED_TASKS, TASKS


def test_every_schema_has_its_row_and_every_row_its_schema():
    assert {name: task.schema for name, task in TASKS.items()} == SCHEMAS


def test_every_task_answers_without_a_trained_model():
    assert set(TASKS) == set(ANSWERING_TASKS)


def test_a_row_without_a_cold_start_says_so():
    image = CTImage(hu=np.zeros((4, 4, 4), np.int16), affine=np.eye(4))
    with pytest.raises(Refusal, match="thigh_muscles has no trained model"):
        replace(TASKS["thigh_muscles"], cold_start=None).answer(image)


def test_the_whole_pipeline_is_shown_but_not_stored():
    assert set(TASKS) - set(STORED_TASKS) == {"sarcopenia"}
