"""Every task answers any CT with a label of its schema or with a refusal in a sentence, never with a failure."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lib.images import CTImage, read_ct
from lib.refusals import Refusal
from lib.tasks import TASKS, Task

COLD = tuple(task for task in TASKS.values() if task.cold_start is not None)
L3_AT = 69


@pytest.fixture(scope="module")
def real(real_ct_path: Path) -> CTImage:
    return read_ct(real_ct_path).canonical()


def part(ct: CTImage, *box: slice) -> CTImage:
    affine = ct.affine.copy()
    affine[:3, 3] = (affine @ np.array([*(s.start or 0 for s in box), 1.0]))[:3]
    return CTImage(hu=ct.hu[box], affine=affine)


def slices(ct: CTImage, low: int, high: int) -> CTImage:
    return part(ct, slice(None), slice(None), slice(low, high))


def outside_the_scan_circle(ct: CTImage, value: int) -> CTImage:
    hu = ct.hu.copy()
    x, y = np.ogrid[: hu.shape[0], : hu.shape[1]]
    hu[(x - 60.5) ** 2 + (y - 50) ** 2 > 55**2] = value
    return CTImage(hu=hu, affine=ct.affine)


def with_metal(ct: CTImage) -> CTImage:
    """Metal of the largest HU that int16 nearly holds in a hip and in a vertebra."""
    hu = ct.hu.copy()
    hu[28:33, 40:45, 10:30] = 30000
    hu[54:58, 38:50, 60:80] = 30000
    return CTImage(hu=hu, affine=ct.affine)


def coarse(ct: CTImage, step: int) -> CTImage:
    return CTImage(hu=ct.hu[::step, ::step], affine=ct.affine @ np.diag([step, step, 1, 1]))


ODD: dict[str, Callable[[CTImage], CTImage]] = {
    **{
        f"{count} slices from {low}": (lambda ct, low=low, count=count: slices(ct, low, low + count))
        for low in (5, 66)
        for count in (1, 2, 5)
    },
    "one voxel wide": lambda ct: part(ct, slice(60, 61), slice(None), slice(None)),
    "one voxel deep": lambda ct: part(ct, slice(None), slice(45, 46), slice(None)),
    "one voxel": lambda ct: part(ct, slice(60, 61), slice(45, 46), slice(60, 61)),
    "spine alone": lambda ct: part(ct, slice(40, 75), slice(20, 60), slice(50, 90)),
    "32 pixels wide": lambda ct: slices(coarse(ct, 4), 50, 90),
    "voxels of 0.05 mm": lambda ct: CTImage(hu=ct.hu[40:80, 30:60, 60:64], affine=np.diag([0.05, 0.05, 0.05, 1])),
}

UNIFORM = {"air": -1000, "water": 0, "bone": 700, "outside the scan circle": -3024}


def check(image: CTImage, requested: int | None, task: Task) -> bool:
    """Whether the task answered; what it answered must be sound."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            answer = task.answer(image, requested)
        except Refusal:
            return False
    assert answer.label.shape == image.shape
    assert answer.label.dtype == np.uint8
    assert answer.label.max() <= len(task.schema.shown)
    assert 0 <= answer.doubt <= 1
    json.dumps(dict(answer.details), allow_nan=False)
    return True


@pytest.mark.parametrize("task", COLD, ids=lambda task: task.name)
class TestEveryTask:
    @pytest.mark.parametrize("odd", ODD)
    def test_a_part_of_a_patient(self, real: CTImage, odd: str, task: Task) -> None:
        check(ODD[odd](real), None, task)

    @pytest.mark.parametrize("index", [0, 10, 35, 111])
    def test_a_slice_chosen_far_from_l3(self, real: CTImage, index: int, task: Task) -> None:
        if task.on_slice:
            check(real, index, task)

    @pytest.mark.parametrize("value", UNIFORM.values(), ids=UNIFORM)
    @pytest.mark.parametrize("count", [1, 40])
    def test_nothing_but_one_value(self, value: int, count: int, task: Task) -> None:
        image = CTImage(hu=np.full((60, 60, count), value, np.int16), affine=np.diag([3.0, 3.0, 3.0, 1.0]))
        check(image, None, task)
        check(image, 0, task)

    @pytest.mark.parametrize("change", [with_metal, lambda ct: outside_the_scan_circle(ct, -3024)])
    def test_extreme_values_do_not_keep_it_from_answering(
        self, real: CTImage, change: Callable[[CTImage], CTImage], task: Task
    ) -> None:
        assert check(slices(change(real), 40, 90), None, task)


class TestDoubt:
    def test_a_body_without_bone_is_doubted(self) -> None:
        water = CTImage(hu=np.zeros((60, 60, 10), np.int16), affine=np.diag([3.0, 3.0, 3.0, 1.0]))
        answer = TASKS["body_composition"].answer(water)
        assert answer.doubt == 1
        assert any("bone" in warning for warning in answer.warnings)
