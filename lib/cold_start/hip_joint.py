"""The heads of the thigh bones on a coarse grid, and where thigh bone, hip bone and sacrum part."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from lib.cold_start.body_grid import Mask, box_around

SMALLEST_HEAD_MM, LARGEST_HEAD_MM = 16.0, 30.0
_HEAD_MM, _PER_MM = 23.5, 4.0
"""The radius of most heads, and the contrast in HU that a millimetre more or less has to gain."""
# Between the middles of both heads, and how far one may lie before or above the other.
_APART_MM, _ASKEW_MM = (110.0, 230.0), 45.0
_SEARCHED_MM = np.array([42.0, 42.0, 60.0])
_COARSE_STEP_MM, _LOOKED_CLOSER_AT = 3.0, 4
_LEVEL_MM = 3.0
_RIM_MM = 1.5
_NECK_MM = 18.0
_TROCHANTER_MM = 25.0
"""How far the greater trochanter reaches above the middle of the head, with some room."""
_LESSER_TROCHANTER_MM = 60.0
ISCHIUM_MM = 90.0
"""How far below the middle of the head the hip bone ends, with some room."""
_SACRUM_MM, _MIDLINE_MM = 65.0, 18.0
_ROOF_MM = 25.0
_HIP_BONE, _SACRUM = 1, 2
_SMALLEST_HIP_BONE_CM3, _SMALLEST_SHARE = 8.0, 0.1


@dataclass(frozen=True, kw_only=True)
class Head:
    """A femoral head.

    Attributes:
        middle: (x, y, z), mm from the corner of the image.
        radius: mm.
        outwards: 1 where its leg lies to higher x (the patient's right), else -1.
    """

    middle: NDArray[np.float64]
    radius: float
    outwards: int

    def lowest_slice(self, spacing: NDArray[np.float64]) -> int:
        """The slice at its lower end."""
        return max(0, int((self.middle[2] - self.radius) / float(spacing[2])))


class Places:
    """Where the voxels of a grid lie, mm from the corner of the image."""

    def __init__(self, shape: tuple[int, ...], spacing: NDArray[np.float64]) -> None:
        self.spacing = spacing
        self.x, self.y, self.z = ((np.arange(n) + 0.5) * mm for n, mm in zip(shape, spacing, strict=True))

    def slices_between(self, low: float, high: float) -> slice:
        """The slices whose middles lie between two heights."""
        return slice(int(np.searchsorted(self.z, low)), int(np.searchsorted(self.z, high, side="right")))


def find_heads(bone: Mask, pelvic: NDArray[np.bool_], spacing: NDArray[np.float64]) -> tuple[Head, ...]:
    """Both femoral heads: the two thickest balls of bone as far apart as hips are, at about one height.

    Args:
        bone: bone with its marrow, without arms.
        pelvic: the slices that show organs.
        spacing: voxel size (mm).

    Returns:
        Two heads, the left one first, or none.
    """
    at = Places(bone.shape, spacing)
    depth = _depths(bone, pelvic, spacing)
    size = [2 * round(15 / float(mm)) + 1 for mm in spacing]
    thick = depth >= SMALLEST_HEAD_MM
    if not thick.any():
        return ()
    box = box_around(thick, np.array(size))
    peaks = np.argwhere(thick[box] & (depth[box] == ndimage.maximum_filter(depth[box], size)))
    peaks += [each.start for each in box]
    best: tuple[float, tuple[NDArray, NDArray]] | None = None
    for one, other in combinations(peaks, 2):
        a, b = sorted((one, other), key=lambda index: int(index[0]))
        across, along, up = np.abs((b - a) * spacing)
        if not _APART_MM[0] <= across <= _APART_MM[1] or along > _ASKEW_MM or up > _ASKEW_MM:
            continue
        worth = float(depth[tuple(a)] + depth[tuple(b)]) - 0.2 * float(along + up)
        if best is None or worth > best[0]:
            best = worth, (a, b)
    if best is None:
        return ()
    heads = []
    for index, outwards in zip(best[1], (-1, 1), strict=True):
        rough = np.array([at.x[index[0]], at.y[index[1]], at.z[index[2]]])
        radius = min(float(depth[tuple(index)]), LARGEST_HEAD_MM)
        heads.append(Head(middle=rough, radius=radius, outwards=outwards))
    return tuple(heads)


def _depths(bone: Mask, pelvic: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """How deep in bone the voxels of some slices lie, mm."""
    depth = np.zeros(bone.shape)
    near = bone & ndimage.binary_dilation(pelvic, iterations=round(2 * LARGEST_HEAD_MM / float(spacing[2])))
    if near.any():
        box = box_around(near, np.ones(3, int))
        depth[box] = ndimage.distance_transform_edt(bone[box], sampling=spacing)
        depth[:, :, ~pelvic] = 0
    return depth


def refined(head: Head, hu: NDArray[np.float32], spacing: NDArray[np.float64]) -> Head:
    """The ball whose rim is brightest compared with what lies just outside of it, above and to the front and back.

    Args:
        head: about where it is.
        hu: CT on the grid.
        spacing: voxel size (mm).
    """
    directions = _directions()
    # Not towards the neck, which goes on as bone.
    directions = directions[directions @ _neck_axis(head.outwards) < 0.35]
    corner = np.maximum((head.middle - _SEARCHED_MM) / spacing, 0).astype(int)
    end = ((head.middle + _SEARCHED_MM) / spacing).astype(int) + 2
    searched = hu[corner[0] : end[0], corner[1] : end[1], corner[2] : end[2]]
    smooth = ndimage.gaussian_filter(np.clip(searched, -100, 700), 0.4)
    radii = np.arange(18.0, 28.1, 1.0)
    shells = np.concatenate([radius + np.array([-2.0, 2.5]) for radius in radii])

    def worth(step: tuple[float, ...]) -> tuple[float, float]:
        """Of the best ball around a middle, and its radius."""
        points = head.middle + step + shells[:, None, None] * directions
        values = ndimage.map_coordinates(smooth, (points / spacing - 0.5 - corner).reshape(-1, 3).T, order=1)
        inner, outer = values.reshape(len(radii), 2, -1).transpose(1, 0, 2)
        contrast = np.mean(np.clip(inner - outer, -150, 250), axis=1)
        each = contrast - 0.5 * np.hypot(step[0], step[1]) - _PER_MM * np.abs(radii - _HEAD_MM)
        return float(each.max()), float(radii[int(each.argmax())])

    # Down to 24 mm: where the roof of the joint is thick, bone is thickest above the head.
    aside, along = np.arange(-9.0, 9.1, _COARSE_STEP_MM), np.arange(-24.0, 6.1, _COARSE_STEP_MM)
    steps = sorted(product(aside, aside, along), key=worth)[-_LOOKED_CLOSER_AT:]
    finer = list(product((-_COARSE_STEP_MM / 2, 0.0, _COARSE_STEP_MM / 2), repeat=3))
    best = max(((x + dx, y + dy, z + dz) for x, y, z in steps for dx, dy, dz in finer), key=worth)
    return Head(middle=head.middle + best, radius=worth(best)[1], outwards=head.outwards)


def proximal_femur(bone: Mask, head: Head, spacing: NDArray[np.float64]) -> Mask:
    """Head, neck and trochanters: bone in the ball, along the neck, and to the side of the joint."""
    at = Places(bone.shape, spacing)
    z = at.slices_between(head.middle[2] - head.radius - _LEVEL_MM, head.middle[2] + head.radius + _TROCHANTER_MM)
    x, y, height = np.ix_(at.x, at.y, at.z[z])
    side = (x - head.middle[0]) * head.outwards
    front, up = y - head.middle[1], height - head.middle[2]
    ball = side**2 + front**2 + up**2 <= (head.radius + _RIM_MM) ** 2
    axis = _neck_axis(1)
    along = side * axis[0] + front * axis[1] + up * axis[2]
    aside = side**2 + front**2 + up**2 - along**2
    neck = (along > 0) & (along < 70) & (aside <= _NECK_MM**2)
    lateral = (side > head.radius + 6) & (up < _TROCHANTER_MM) & (side < 90)
    found = np.zeros_like(bone)
    found[:, :, z] = bone[:, :, z] & (ball | neck | lateral)
    return found


def hip_bones(bone: Mask, hu: NDArray[np.float32], heads: tuple[Head, ...], middle: float, spacing: NDArray) -> Mask:
    """Both hip bones, parted from the sacrum at the dark line of the joint between two bright plates.

    Args:
        bone: bone with its marrow, without arms and thigh bones.
        hu: CT on the grid.
        heads: of the thigh bones, as far as they are in view.
        middle: x of the midline, mm.
        spacing: voxel size (mm).
    """
    at = Places(bone.shape, spacing)
    lowest = min((head.middle[2] for head in heads), default=-np.inf) - ISCHIUM_MM
    z = at.slices_between(lowest, np.inf)
    mask = bone[:, :, z]
    aside = np.abs(at.x - middle)
    markers = np.zeros(mask.shape, np.int32)
    markers[aside > _SACRUM_MM] = _HIP_BONE
    markers[aside < _MIDLINE_MM] = _SACRUM
    if heads:
        # Up to the roof of the joint, what lies before it is pubis; below it the sacrum has become the coccyx, and what
        # lies aside of that is ischium.
        joint = np.mean([head.middle for head in heads], axis=0)
        ahead, height = at.y > joint[1] + 5, at.z[z] - joint[2]
        markers[np.ix_(aside <= _SACRUM_MM, ahead, height < _ROOF_MM)] = _HIP_BONE
        markers[np.ix_((aside > _MIDLINE_MM + 8) & (aside <= _SACRUM_MM), ~ahead, height < -10)] = _HIP_BONE
    smooth = ndimage.gaussian_filter(np.clip(hu[:, :, z], -100, 600), 0.5)
    parted = watershed(smooth, np.where(mask, markers, 0), mask=mask) == _HIP_BONE
    found = np.zeros_like(bone)
    found[:, :, z] = _large(parted, spacing)
    return found


def _large(mask: Mask, spacing: NDArray[np.float64]) -> Mask:
    pieces, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    size = np.bincount(pieces.ravel(), minlength=2)
    size[0] = 0
    depth_cm = min(3.0, mask.shape[2] * float(spacing[2]) / 10)
    least = _SMALLEST_HIP_BONE_CM3 * depth_cm / 3 / float(np.prod(spacing)) * 1000
    keep = size >= max(least, _SMALLEST_SHARE * size.max())
    keep[0] = False
    return keep[pieces]  # type: ignore[no-any-return]


def _neck_axis(outwards: int) -> NDArray[np.float64]:
    """From the head to the trochanters: the neck meets the shaft at about 125 degrees."""
    axis = np.array([0.80 * outwards, -0.10, -0.59])
    return axis / np.linalg.norm(axis)


def _directions() -> NDArray[np.float64]:
    """About 100 unit vectors spread evenly over the sphere (Fibonacci)."""
    n = 100
    up = 1 - (2 * np.arange(n) + 1) / n
    turn = np.pi * (1 + 5**0.5) * np.arange(n)
    flat = np.sqrt(1 - up**2)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), up], axis=1)
