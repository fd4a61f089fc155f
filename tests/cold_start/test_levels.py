"""The L3 slice lies at the inferior endplate of L3 however a CT is stored, cut or resampled, or the answer is none."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from nibabel import orientations
from scipy import ndimage

from lib.anatomy.levels import FOOT_TO_HEAD, HEAD_TO_FOOT
from lib.cold_start.levels import NOT_CHECKED, find_levels
from lib.images import CTImage, read_ct
from tests.cold_start.synthetic_torso import Torso, make_torso

# Read by eye on the real CT: the inferior endplate of L3 at the centre of its body, voxels.
TRUE_ENDPLATE = (57.0, 43.0, 69.7)
TOLERANCE_MM = 10.0

DEFAULT_SEEDS = (3, 7)
MANY_SEEDS = tuple(range(100, 140))


@pytest.fixture(scope="module")
def real(real_ct_path: Path) -> CTImage:
    return read_ct(real_ct_path).canonical()


def error_mm(image: CTImage, original: CTImage) -> float:
    """How far the answer lies from the true endplate along the foot-to-head axis."""
    found = find_levels(image)
    assert found.l3_slice is not None, found.warnings
    upright = image.canonical()
    truth = np.linalg.inv(upright.affine) @ original.affine @ np.array([*TRUE_ENDPLATE, 1.0])
    return float((found.l3_slice - truth[2]) * upright.spacing[2])


def reordered(image: CTImage, codes: str) -> CTImage:
    change = orientations.ornt_transform(
        orientations.io_orientation(image.affine), orientations.axcodes2ornt(tuple(codes))
    )
    return CTImage(
        hu=orientations.apply_orientation(image.hu, change),
        affine=image.affine @ orientations.inv_ornt_aff(change, image.shape),
    )


def resampled(image: CTImage, spacing: tuple[float, float, float], rotation: np.ndarray | None = None) -> CTImage:
    """The same body on another grid around the same centre."""
    shape = np.array(image.shape)
    centre = (image.affine @ np.append((shape - 1) / 2, 1.0))[:3]
    size = np.ceil(shape * image.spacing / spacing).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if rotation is None else rotation) @ np.diag(spacing)
    affine[:3, 3] = centre - affine[:3, :3] @ ((size - 1) / 2)
    back = np.linalg.inv(image.affine) @ affine
    blurred = ndimage.gaussian_filter(
        image.hu.astype(np.float32),
        [max(0.0, new / old - 1) / 2 for new, old in zip(spacing, image.spacing, strict=True)],
    )
    hu = ndimage.affine_transform(blurred, back[:3, :3], back[:3, 3], output_shape=tuple(size), order=1, cval=-1024)
    return CTImage(hu=hu.astype(np.int16), affine=affine)


def turned(axis: int, degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
    return matrix


def cropped(
    image: CTImage, z: tuple[int, int], x: tuple[int, int] = (0, 122), y: tuple[int, int] = (0, 101)
) -> CTImage:
    affine = image.affine.copy()
    affine[:3, 3] = (affine @ np.array([x[0], y[0], z[0], 1.0]))[:3]
    return CTImage(hu=image.hu[x[0] : x[1], y[0] : y[1], z[0] : z[1]], affine=affine)


def with_hu(image: CTImage, hu: np.ndarray) -> CTImage:
    return CTImage(hu=np.clip(hu, -1024, 3000).astype(np.int16), affine=image.affine)


def with_aorta(image: CTImage) -> CTImage:
    """Bright vessels in front of the spine."""
    hu = image.hu.copy()
    x, y = np.meshgrid(np.arange(122), np.arange(101), indexing="ij")
    heights = np.arange(52, 112)
    middle = np.interp(heights, [52, 68, 80, 103, 111], [42, 44, 43.5, 36, 33])
    for z, y_body in zip(heights, middle, strict=True):
        hu[..., z][(x - 54) ** 2 + (y - y_body - 11) ** 2 < 16] = 300
        hu[..., z][(x - 63) ** 2 + (y - y_body - 11) ** 2 < 16] = 220
    return with_hu(image, hu)


def with_calcium(image: CTImage) -> CTImage:
    rng = np.random.default_rng(0)
    hu = image.hu.copy()
    cells = rng.permutation(np.argwhere(hu > -50))[:400]
    hu[tuple(cells.T)] = rng.uniform(400, 1200, 400)
    return with_hu(image, hu)


def padded(image: CTImage, value: int) -> CTImage:
    affine = image.affine.copy()
    affine[:3, 3] = (affine @ np.array([-20.0, -20.0, -20.0, 1.0]))[:3]
    return CTImage(hu=np.pad(image.hu, 20, constant_values=value), affine=affine)


CHANGES: dict[str, Callable[[CTImage], CTImage]] = {
    "as it is": lambda ct: ct,
    "float": lambda ct: CTImage(hu=ct.hu.astype(np.float32), affine=ct.affine),
    **{f"stored as {codes}": lambda ct, codes=codes: reordered(ct, codes) for codes in ("LPI", "RAI", "SAR", "IPR")},
    **{
        f"turned by {degrees} degrees about axis {axis}": (
            lambda ct, axis=axis, degrees=degrees: resampled(ct, (3, 3, 3), turned(axis, degrees))
        )
        for axis in range(3)
        for degrees in (-10, 10)
    },
    **{f"slices of {mm} mm": lambda ct, mm=mm: resampled(ct, (3, 3, mm)) for mm in (1.5, 5, 7)},
    "pixels of 0.8 mm": lambda ct: resampled(ct, (0.8, 0.8, 3)),
    "pixels of 2 mm": lambda ct: resampled(ct, (2, 2, 4)),
    **{
        f"slices {low} to {high}": lambda ct, low=low, high=high: cropped(ct, (low, high))
        for low, high in ((0, 75), (30, 112), (40, 90), (50, 112), (50, 95), (62, 112))
    },
    "tight around the body": lambda ct: cropped(ct, (0, 112), (5, 115), (3, 95)),
    "left side cut off": lambda ct: cropped(ct, (0, 112), (35, 122)),
    "right side cut off": lambda ct: cropped(ct, (0, 112), (0, 85)),
    "front cut off": lambda ct: cropped(ct, (0, 112), (0, 122), (0, 60)),
    "spine only": lambda ct: cropped(ct, (0, 112), (30, 90), (0, 75)),
    "padded with air": lambda ct: padded(ct, -1024),
    "padded with water": lambda ct: padded(ct, 0),
    "noise": lambda ct: with_hu(ct, ct.hu + np.random.default_rng(0).normal(0, 30, ct.shape)),
    **{f"shifted by {hu} HU": lambda ct, hu=hu: with_hu(ct, ct.hu + hu) for hu in (-20, 20)},
    "contrast in the vessels": with_aorta,
    "calcium": with_calcium,
    "poor in bone": lambda ct: with_hu(ct, np.where(ct.hu > 80, 80 + 0.4 * (ct.hu - 80.0), ct.hu)),
}


class TestRealCT:
    @pytest.mark.parametrize(
        "change",
        [pytest.param(name, marks=[pytest.mark.slow] if name == "pixels of 0.8 mm" else []) for name in CHANGES],
    )
    def test_slice_is_at_the_lower_endplate_of_l3(self, real: CTImage, change: str) -> None:
        assert abs(error_mm(CHANGES[change](real), real)) <= TOLERANCE_MM

    @pytest.mark.parametrize(("low", "high"), [(0, 30), (0, 50), (0, 66), (62, 100), (72, 112), (90, 112)])
    def test_no_slice_where_l3_or_all_landmarks_are_out_of_view(self, real: CTImage, low: int, high: int) -> None:
        found = find_levels(cropped(real, (low, high)))
        assert found.l3_slice is None
        assert found.warnings
        assert found.confidence == 0.0

    def test_whole_view_is_more_certain_than_a_part(self, real: CTImage) -> None:
        whole, no_pelvis = find_levels(real), find_levels(cropped(real, (62, 112)))
        assert whole.confidence > 0.9
        assert not whole.warnings
        assert no_pelvis.confidence < 0.8
        assert any("pelvis" in warning for warning in no_pelvis.warnings)

    def test_levels_from_t12_to_s1_in_order(self, real: CTImage) -> None:
        levels = find_levels(real).levels
        assert [level.name for level in levels] == ["T12", "L1", "L2", "L3", "L4", "L5", "S1"]
        heights = [edge for level in levels for edge in (level.superior_mm, level.inferior_mm) if edge is not None]
        assert heights == sorted(heights, reverse=True)
        for level in levels[1:-1]:
            # L5 leans forward, which takes from its height along the body.
            assert 15 < level.superior_mm - level.inferior_mm < 38
            assert level.inferior == pytest.approx(level.inferior_mm / 3.0)

    def test_slice_counts_from_the_lowest_slice_also_when_stored_from_head_to_foot(self, real: CTImage) -> None:
        upside_down = reordered(real, "LPI")
        assert find_levels(upside_down).l3_slice == find_levels(real).l3_slice


class TestWithoutASpine:
    def test_single_slice_is_taken_and_said_to_be_unchecked(self) -> None:
        found = find_levels(CTImage(hu=np.zeros((64, 64, 1), np.int16), affine=np.eye(4)))
        assert found.l3_slice == 0
        assert found.confidence == 0.0
        assert found.warnings == (NOT_CHECKED,)

    @pytest.mark.parametrize("value", [-1024, 0, 50, 300])
    def test_uniform_volume_has_no_level(self, value: int) -> None:
        hu = np.full((80, 70, 60), value, np.int16)
        found = find_levels(CTImage(hu=hu, affine=np.diag([4.0, 4.0, 4.0, 1.0])))
        assert found.l3_slice is None
        assert found.warnings

    def test_noise_has_no_level(self) -> None:
        hu = np.random.default_rng(0).normal(40, 200, (80, 70, 60)).astype(np.int16)
        assert find_levels(CTImage(hu=hu, affine=np.diag([4.0, 4.0, 4.0, 1.0]))).l3_slice is None

    def test_skull_has_no_level(self) -> None:
        x, y, z = np.meshgrid(*[np.arange(-100, 100, 4.0)] * 3, indexing="ij")
        radius = np.sqrt((x / 70) ** 2 + (y / 90) ** 2 + (z / 80) ** 2)
        hu = np.where(radius < 0.92, 35, np.where(radius < 1, 900, np.where(radius < 1.06, 20, -1000)))
        found = find_levels(CTImage(hu=hu.astype(np.int16), affine=np.diag([4.0, 4.0, 4.0, 1.0])))
        assert found.l3_slice is None

    @pytest.mark.parametrize("shape", [(3, 3, 3), (40, 40, 2), (1, 1, 50), (5, 60, 60)])
    def test_tiny_volume_has_no_level(self, shape: tuple[int, int, int]) -> None:
        found = find_levels(CTImage(hu=np.zeros(shape, np.int16), affine=np.eye(4) * 3 + np.diag([0, 0, 0, -2.0])))
        assert found.l3_slice is None


def fields_of_view(torso: Torso) -> dict[str, Torso]:
    """Parts of a torso that hold the lower endplate of L3 and some landmark."""
    edge, top = torso.inferior_mm, torso.image.shape[2] * torso.image.spacing[2]
    views = {
        "whole": torso,
        "abdomen": torso.cropped(edge["L5"] - 60, edge["T11"]),
        "no pelvis": torso.cropped(torso.crest_mm + 8, top),
        "no ribs": torso.cropped(0, edge["L1"]),
        "crests and ribs": torso.cropped(edge["L5"] + 5, edge["T11"]),
        "crests only": torso.cropped(edge["L5"] - 5, edge["L1"] - 5),
    }
    return {name: view for name, view in views.items() if view.inferior_mm["L3"] > 8}


def views_without_l3(torso: Torso) -> dict[str, Torso]:
    edge, top = torso.inferior_mm, torso.image.shape[2] * torso.image.spacing[2]
    return {
        "pelvis": torso.cropped(0, edge["L4"] + 15),
        "chest from L2": torso.cropped(edge["L2"] - 5, top),
        "chest": torso.cropped(edge["T12"], top),
    }


@cache
def torso_of(seed: int) -> Torso:
    return make_torso(seed)


def torso_error_mm(torso: Torso) -> float | None:
    found = find_levels(torso.image)
    return None if found.l3_slice is None else found.l3_slice * torso.image.spacing[2] - torso.inferior_mm["L3"]


class TestSyntheticTorso:
    @pytest.mark.parametrize("seed", DEFAULT_SEEDS)
    def test_slice_where_it_can_be_told(self, seed: int) -> None:
        views = fields_of_view(torso_of(seed))
        errors = {name: torso_error_mm(view) for name, view in views.items()}
        assert errors["whole"] is not None
        wrong = {name: error for name, error in errors.items() if error is not None and abs(error) > TOLERANCE_MM}
        assert not wrong
        assert sum(error is not None for error in errors.values()) >= len(errors) - 1

    @pytest.mark.parametrize("seed", DEFAULT_SEEDS)
    def test_none_where_l3_is_not_in_view(self, seed: int) -> None:
        for name, view in views_without_l3(torso_of(seed)).items():
            assert torso_error_mm(view) is None, name

    def test_six_lumbar_vertebrae_are_said_to_be_unclear(self) -> None:
        torso = make_torso(4, lumbar=6)
        found = find_levels(torso.image)
        readings = {at for _, at in found.candidates} | {found.l3_slice}
        assert found.warnings
        assert any(
            at is not None and abs(at * torso.image.spacing[2] - torso.inferior_mm[name]) <= TOLERANCE_MM
            for at in readings
            for name in ("L3", "L4")
        )

    @pytest.mark.slow
    def test_hit_rate_over_many_torsos(self) -> None:
        hits, total, wrong, false_finds = 0, 0, 0, 0
        for seed in MANY_SEEDS:
            torso = make_torso(seed)
            errors = [torso_error_mm(view) for view in fields_of_view(torso).values()]
            total += len(errors)
            hits += sum(error is not None and abs(error) <= TOLERANCE_MM for error in errors)
            wrong += sum(error is not None and abs(error) > TOLERANCE_MM for error in errors)
            false_finds += sum(torso_error_mm(view) is not None for view in views_without_l3(torso).values())
        assert hits >= 0.9 * total
        assert wrong <= 0.04 * total
        assert false_finds <= 0.04 * 3 * len(MANY_SEEDS)


class TestNames:
    def test_twelve_thoracic_and_five_lumbar_levels_from_head_to_foot(self) -> None:
        assert HEAD_TO_FOOT[0] == "T1"
        assert HEAD_TO_FOOT[-7:] == ("T12", "L1", "L2", "L3", "L4", "L5", "S1")
        assert tuple(reversed(FOOT_TO_HEAD)) == HEAD_TO_FOOT
