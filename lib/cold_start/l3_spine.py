"""The vertebra on an axial slice: its mid-line, its body, the arch and the canal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, signal

from lib.anatomy.hounsfield import BONE, MUSCLE
from lib.cold_start.l3_frame import SliceFrame, upright
from lib.cold_start.l3_paths import Polar, smooth_path
from lib.refusals import Refusal

Floats = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]

# Partial volume thins the arch: at 3 mm the cortex of a lamina seldom reaches the bone threshold in every voxel.
BONY_HU = 0.8 * BONE.low
_LEAST_BONE_MM2 = 120.0
# A disc has 80 to 110 HU, a body with little lime in it still its cortex; muscle has 60 HU at most.
_LEAST_BRIGHTER_HU = 12.0
_HALF_WIDTHS_MM = (17, 20, 23, 26, 29)
_DEPTH_OF_WIDTH = 0.72
_NO_VERTEBRA = "There is no vertebra in the middle of this slice; choose a slice through the lumbar spine."


@dataclass(frozen=True, kw_only=True)
class Spine:
    """The vertebra on the working grid (1 mm pixels, x to the right, y to the front).

    Attributes:
        centre: (x, y) of the vertebral body or disc, pixels.
        half_width: half of its width, mm.
        back: y of its posterior border at the mid-line.
        body: the vertebral body or disc.
        bone: all bone, marrow included.
        canal: the spinal canal and what lies between it and the vertebral body.
        contrast: HU by which the body stands out from what lies beside it.
    """

    centre: tuple[float, float]
    half_width: float
    back: float
    body: Mask
    bone: Mask
    canal: Mask
    contrast: float


def patient_frame(hu: Floats, body: Mask, spacing: tuple[float, float]) -> SliceFrame:
    """Find the spine's mirror axis and lay the working grid along it.

    Args:
        hu: the slice (x, y), HU.
        body: what lies inside the skin, without arms.
        spacing: pixel size in mm.

    Raises:
        Refusal: there is no body, or no bone where the spine should be.
    """
    if body.sum() * spacing[0] * spacing[1] < 8000:
        raise Refusal("There is no trunk on this slice; choose a slice through the lumbar spine.")
    columns, rows = (np.flatnonzero(body.any(axis=axis)) for axis in (1, 0))
    middle = (
        float((columns[0] + columns[-1]) / 2 * spacing[0]),
        float((rows[0] + rows[-1]) / 2 * spacing[1]),
    )
    half = (
        float((columns[-1] - columns[0] + 1) / 2 * spacing[0]),
        float((rows[-1] - rows[0] + 1) / 2 * spacing[1]),
    )
    reach = int(np.ceil(np.hypot(*half))) + 15
    flat = SliceFrame(shape=hu.shape, spacing=spacing, origin=middle, tilt=0.0, reach=reach)  # type: ignore[arg-type]
    grid = flat.to_grid(hu, outside=-1000.0)
    inside = flat.to_grid(body.astype(np.float32), outside=0.0) > 0.5
    x, y = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    deep = ndimage.binary_erosion(inside, iterations=18)
    place = deep & (np.abs(x) < 0.3 * half[0] + 15) & (y < 0.35 * half[1])
    bone = place & (grid > BONY_HU)
    if bone.sum() < _LEAST_BONE_MM2:
        raise Refusal(_NO_VERTEBRA)
    bone_x, bone_y = float(np.median(x[bone])), float(np.median(y[bone]))
    near = np.hypot(x - bone_x, y - bone_y) < 80
    relief = np.where(near & inside, np.clip(ndimage.gaussian_filter(grid, 1.5), -100, 300), 0.0)
    relief[near] -= relief[near].mean()
    relief[~near] = 0.0
    half_window = 84
    window = SliceFrame(
        shape=(relief.shape[0], relief.shape[1]),
        spacing=(1.0, 1.0),
        origin=(bone_x + reach, bone_y + reach),
        tilt=0.0,
        reach=half_window,
    ).to_grid(relief, outside=0.0)
    tilt, shift = upright(window[::2, ::2], half_width=half_window // 2)
    origin = (
        middle[0] + bone_x + 2 * shift * float(np.cos(tilt)),
        middle[1] + bone_y - 2 * shift * float(np.sin(tilt)),
    )
    at_x, at_y = np.nonzero(body)
    farthest = float(np.hypot(at_x * spacing[0] - origin[0], at_y * spacing[1] - origin[1]).max())
    reach = min(int(np.ceil(farthest)) + 5, 330)
    return SliceFrame(shape=hu.shape, spacing=spacing, origin=origin, tilt=tilt, reach=reach)  # type: ignore[arg-type]


def find_spine(hu: Floats, inside: Mask) -> Spine:
    """Find the vertebra on the working grid, on a slice through a body or a disc.

    Args:
        hu: working grid (x, y) with the mirror axis near the middle column, denoised, HU.
        inside: what lies inside the skin.

    Raises:
        Refusal: nothing there looks like a vertebra with an arch behind it.
    """
    middle = hu.shape[0] // 2
    centre, half_width, contrast = _body_ellipse(hu, inside)
    body = _body_contour(hu, centre, half_width)
    bony = inside & (hu > BONY_HU)
    x, y = np.mgrid[: hu.shape[0], : hu.shape[1]]
    columns = np.abs(x - centre[0]) < 6
    lowest = np.where(body & columns, y, hu.shape[1]).min(axis=1)
    back = float(np.median(lowest[lowest < hu.shape[1]]))
    behind = bony & (np.abs(x - centre[0]) < 35) & (y < back - 8) & (y > back - 60)
    beside = (np.abs(x - centre[0]) < 50) & (y < back - 15) & (y > back - 45) & MUSCLE.contains(hu)
    muscle = float(np.median(hu[beside])) if beside.sum() > 200 else MUSCLE.low
    brighter = float(np.clip(hu[body], 0.0, 200.0).mean()) - muscle
    if behind.sum() < _LEAST_BONE_MM2 / 2 or abs(centre[0] - middle) > 20 or brighter < _LEAST_BRIGHTER_HU:
        raise Refusal(_NO_VERTEBRA)
    canal = (((x - centre[0]) / 12.0) ** 2 + ((y - (back - 8.0)) / 11.0) ** 2) <= 1
    closed = ndimage.binary_closing(np.pad(bony | body, 6), structure=_disc(4))[6:-6, 6:-6]
    bone = ndimage.binary_fill_holes(closed) & inside
    bone &= bony | body | ndimage.binary_erosion(closed, structure=_disc(1)) | canal
    # Marrow between cortices counts as bone, but a closing must not swallow the muscle between two processes.
    bone &= bony | body | canal | (hu > 110)
    return Spine(
        centre=centre, half_width=half_width, back=back, body=body, bone=bone, canal=canal & ~bony, contrast=contrast
    )


def _body_ellipse(hu: Floats, inside: Mask) -> tuple[tuple[float, float], float, float]:
    """The ellipse that is brightest against its surroundings, with bone behind it."""
    middle = hu.shape[0] // 2
    half = 62
    low = max(middle - 100, 0)
    strip = np.clip(hu[max(middle - half, 0) : middle + half + 1, low : middle + 101], 0.0, 200.0)[::2, ::2]
    bony = (hu > BONY_HU)[max(middle - half, 0) : middle + half + 1, low : middle + 101][::2, ::2].astype(float)
    there = inside[max(middle - half, 0) : middle + half + 1, low : middle + 101][::2, ::2]
    best = (-np.inf, (0.0, 0.0), 0.0, 0.0)
    centre_x = (strip.shape[0] - 1) / 2.0
    x = np.arange(strip.shape[0])[:, None]
    for half_width in _HALF_WIDTHS_MM:
        a, b = half_width / 2.0, _DEPTH_OF_WIDTH * half_width / 2.0
        dx, dy = np.mgrid[-24:25, -24:25]
        size = np.hypot(dx / a, dy / b)
        core = size <= 1
        # Beside, in front, and the canal behind; not where pedicles spring from the body.
        ring = (np.hypot(dx / (a + 3.5), dy / (b + 3.5)) <= 1) & (size > 1.12)
        ring &= (dy > -0.35 * b) | (np.abs(dx) < 0.3 * a)
        arch = (np.abs(dx) < 14) & (dy < -b - 2) & (dy > -b - 20)
        mean = _correlate(strip, core / core.sum())
        spread = np.sqrt(np.clip(_correlate(strip**2, core / core.sum()) - mean**2, 0, None))
        contrast = mean - _correlate(strip, ring / ring.sum())
        # A body or a disc is even inside; an arch with its muscles, or vessels in fat, are not.
        score = contrast - 0.7 * spread
        score -= 0.25 * np.abs(x - centre_x) * 2
        score -= np.where(_correlate(bony, arch) < 12, 200.0, 0.0)
        score -= np.where(there, 0.0, 1e3)
        score += 0.8 * half_width
        spot = np.unravel_index(int(np.argmax(score)), score.shape)
        if score[spot] > best[0]:
            place = (
                float(spot[0] * 2 + max(middle - half, 0)),
                float(spot[1] * 2 + low),
            )
            best = (float(score[spot]), place, float(half_width), float(contrast[spot]))
    if best[0] < -100 or best[3] < 5:
        raise Refusal(_NO_VERTEBRA)
    return best[1], best[2], best[3]


def _body_contour(hu: Floats, centre: tuple[float, float], half_width: float) -> Mask:
    """The outline of vertebral body or disc, near the ellipse that was found."""
    polar = Polar(centre=centre, rays=120, reach=45)
    rays = polar.sample(np.clip(hu, -50.0, BONE.low))
    drop = -ndimage.gaussian_filter1d(rays, 1.2, axis=1, order=1)
    depth = _DEPTH_OF_WIDTH * half_width
    expected = half_width * depth / np.hypot(depth * np.sin(polar.angles), half_width * np.cos(polar.angles))
    away = (np.arange(polar.reach) - expected[:, None]) / 3.5
    path = smooth_path(away**2 - 0.4 * np.clip(drop, 0, 40), stiffness=2.0, closed=True)
    smooth = ndimage.gaussian_filter1d(path.astype(float), 1.5, mode="wrap")
    radius, ray = polar.radius_and_angle(hu.shape)
    return radius <= polar.at(smooth, ray)  # type: ignore[no-any-return]


def _correlate(array: npt.NDArray, kernel: npt.NDArray) -> Floats:
    return signal.fftconvolve(array, kernel[::-1, ::-1].astype(float), mode="same")  # type: ignore[no-any-return]


def _disc(radius: int) -> Mask:
    x, y = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return x**2 + y**2 <= radius**2  # type: ignore[no-any-return]
