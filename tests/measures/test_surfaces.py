"""Surface distances against two other ways of computing them, on anisotropic voxels."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.distance import cdist

from lib.measures.surfaces import surface_distances

SPACING = (0.7, 1.9, 5.0)


def blob(seed: int, shape: tuple[int, int, int] = (26, 18, 9)) -> np.ndarray:
    """An irregular body away from the edges of the image."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), (4, 2, 1))
    mask = np.zeros(shape, bool)
    inner = (slice(3, -3), slice(3, -3), slice(2, -2))
    mask[inner] = smooth[inner] > np.quantile(smooth[inner], 0.6)
    return mask


def surface_points(mask: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Centres, mm, of the voxels that have one of six neighbours outside; written out."""
    padded = np.pad(mask, 1)
    points = []
    for i, j, k in np.argwhere(mask):
        around = [padded[i + 1 + a, j + 1 + b, k + 1 + c] for a, b, c in
                  ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))]  # fmt: skip
        if not all(around):
            points.append(np.multiply((i, j, k), spacing))
    return np.array(points)


@pytest.mark.parametrize("seed", range(4))
def test_they_are_those_of_all_pairs_of_surface_voxels(seed):
    a, b = blob(seed), blob(seed + 100)
    pairs = cdist(surface_points(a, SPACING), surface_points(b, SPACING))
    nearest = np.concatenate([pairs.min(axis=1), pairs.min(axis=0)])
    found = surface_distances(a, b, SPACING)
    assert found.assd_mm == pytest.approx(nearest.mean(), rel=1e-5)
    assert found.hausdorff_mm == pytest.approx(nearest.max(), rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_simpleitk_says_the_same_of_the_surfaces(seed):
    a, b = blob(seed), blob(seed + 100)
    contours = []
    for mask in (a, b):
        image = sitk.GetImageFromArray(mask.transpose().astype(np.uint8))
        image.SetSpacing(SPACING)
        contours.append(sitk.LabelContour(image, fullyConnected=False))
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*contours)
    distances = []
    for one, other in (contours, contours[::-1]):
        away = sitk.SignedMaurerDistanceMap(other, squaredDistance=False, useImageSpacing=True, insideIsPositive=False)
        distances.append(np.abs(sitk.GetArrayFromImage(away))[sitk.GetArrayFromImage(one) > 0])
    found = surface_distances(a, b, SPACING)
    assert found.hausdorff_mm == pytest.approx(hausdorff.GetHausdorffDistance(), rel=1e-4)
    assert found.assd_mm == pytest.approx(np.concatenate(distances).mean(), rel=1e-4)


def test_a_shift_is_its_length_in_mm_along_each_axis():
    cube = np.zeros((30, 30, 30), bool)
    cube[10:20, 10:20, 10:20] = True
    for axis, mm in enumerate(SPACING):
        found = surface_distances(np.roll(cube, 2, axis), cube, SPACING)
        assert found.hausdorff_mm == pytest.approx(2 * mm)
        assert 0 < found.assd_mm < 2 * mm


def test_alike_is_nothing_apart_also_at_the_edge_of_the_image():
    mask = np.ones((4, 5, 3), bool)
    found = surface_distances(mask, mask, SPACING)
    assert (found.assd_mm, found.hausdorff_mm) == (0, 0)


def test_there_is_no_distance_to_what_is_not_there():
    mask, nothing = blob(0), np.zeros_like(blob(0))
    assert surface_distances(mask, nothing, SPACING) is None
    assert surface_distances(nothing, mask, SPACING) is None
    assert surface_distances(nothing, nothing, SPACING) is None


def test_other_shapes_cannot_be_compared():
    with pytest.raises(ValueError, match="cannot be compared"):
        surface_distances(np.ones((2, 2, 2), bool), np.ones((2, 2, 3), bool), SPACING)
