"""The picture of a case shows the slice, where it lies, and what may not be overlooked."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lib.anatomy.schemas import SARCOPENIA
from lib.cold_start.answers import Answer
from lib.images import CTImage, PatientFacts
from lib.measures.composition import measure
from lib.measures.indices import judge
from lib.reports.case_sheet import draw_case

YELLOW = np.array([255, 255, 0])


def draw(*, shape=(40, 30, 50), index=10, affine=(4, 4, 5, 1), warnings=(), levels=None) -> np.ndarray:
    rng = np.random.default_rng(0)
    image = CTImage(hu=rng.integers(-200, 300, shape).astype(np.int16), affine=np.diag(affine).astype(float))
    label = np.zeros(shape, np.uint8)
    label[10:30, 10:20, index] = 1
    details = {"levels": levels or {}}
    answer = Answer(label=label, method="thresholds", slice_index=index, level="L3", doubt=0, details=details)
    composition = measure(image, label, SARCOPENIA, slice_index=index)
    judgement = judge(composition, PatientFacts(height_m=1.7))
    png = draw_case(image, SARCOPENIA, answer, composition, judgement, slice_index=index, warnings=warnings)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def line_of(picture: np.ndarray) -> float:
    """How high the line is drawn, from the foot (0) to the head (1) of the views beside the slice."""
    yellow = np.abs(picture - YELLOW).sum(axis=2) < 60
    row = int(yellow.sum(axis=1).argmax())
    column = int(np.flatnonzero(yellow[row])[-1]) - 1
    white = np.flatnonzero(picture[:, column].min(axis=1) == 255)
    top, bottom = white[white < row].max(), white[white > row].min()
    return (bottom - row) / (bottom - top)


@pytest.mark.parametrize("index", [5, 40])
def test_the_line_is_where_the_slice_is(index):
    assert line_of(draw(index=index)) == pytest.approx((index + 0.5) / 50, abs=0.03)


def test_the_line_is_where_the_slice_is_in_a_ct_of_many_thin_slices():
    assert line_of(draw(shape=(20, 20, 1100), index=900, affine=(4, 4, 0.3, 1))) == pytest.approx(0.82, abs=0.03)


def test_vertebrae_that_are_known_are_named():
    plain, named = draw(), draw(levels={"L3": {"superior_mm": 150.0, "inferior_mm": 120.0}})
    assert (plain != named).any()


def test_warnings_make_room_for_themselves():
    many = ["The model was trained on digital phantoms only: its answers are not for patients."] * 6
    assert draw(warnings=many).shape[0] > draw().shape[0]
    assert draw(warnings=many).shape[1] == draw().shape[1]


@pytest.mark.parametrize("shape", [(40, 30, 1), (40, 30, 3), (12, 10, 900)])
def test_single_slices_slabs_and_whole_bodies_fit(shape):
    picture = draw(shape=shape, index=shape[2] // 2)
    assert picture.shape[1] == draw().shape[1]
    assert 300 < picture.shape[0] < 800
