"""The shafts of the thigh bones on a coarse grid, followed down to the knee and up to the hip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lib.cold_start.body_grid import Mask
from lib.cold_start.hip_joint import Head, Places

_SHAFT_CM2 = (2.2, 12.0)
_LEAST_LIMB_CM2 = 45.0
"""Cross-section of the thinnest thigh; forearms are thinner."""
_LEAST_RUN_MM = 30.0
_STEP_MM, _GROWTH = 12.0, 1.7
_MUSCLE_REACH_MM, _MUSCLE_SHARE = 30.0, 0.3
_FIBULA_CM2, _FIBULA_REACH_MM, _FIBULA_SHARE = (0.3, 3.5), 65.0, 0.5
_BELOW_HEAD_MM = (55.0, 220.0)
_ASIDE_OF_HEAD_MM = (-15.0, 95.0)
# The condyles have twice the cross-section of the shaft and more; between them and the shin the bone has a gap.
_CONDYLES, _DIP, _KNEE_REACH_MM, _SHIN_MM = 2.0, 0.8, 110.0, 25.0
_LEG_MM = 90.0


@dataclass(frozen=True)
class Section:
    """What one slice shows of a long bone.

    Attributes:
        k: the slice.
        number: of the piece in :attr:`Sections.pieces`.
        middle: (x, y), mm.
        area_cm2: of it.
    """

    k: int
    number: int
    middle: NDArray[np.float64]
    area_cm2: float


class Sections:
    """The pieces of bone on every slice.

    Args:
        bone: bone with its marrow, without arms.
        spacing: voxel size (mm).
    """

    def __init__(self, bone: Mask, spacing: NDArray[np.float64]) -> None:
        self.at, self.spacing = Places(bone.shape, spacing), spacing
        self.pieces = np.zeros(bone.shape, np.int32)
        self.of_slice: list[list[Section]] = []
        pixel_cm2 = float(spacing[0] * spacing[1]) / 100
        for k in range(bone.shape[2]):
            pieces, count = ndimage.label(bone[:, :, k])
            self.pieces[:, :, k] = pieces
            numbers = np.arange(1, count + 1)
            middles = ndimage.center_of_mass(bone[:, :, k], pieces, numbers) if count else []
            areas = np.bincount(pieces.ravel(), minlength=count + 1)[1:] * pixel_cm2
            self.of_slice.append([
                Section(k, int(n), (np.array(middle) + 0.5) * spacing[:2], float(area))
                for n, middle, area in zip(numbers, middles, areas, strict=True)
            ])  # fmt: skip

    def mask(self, section: Section) -> Mask:
        """Its pixels."""
        return self.pieces[:, :, section.k] == section.number  # type: ignore[no-any-return]


def find_shafts(sections: Sections, muscle: Mask, limbs: Mask, heads: tuple[Head, ...]) -> list[list[Section]]:
    """The shaft of each thigh bone in view, as its sections from foot to head; the one at lower x first.

    Args:
        sections: of the bones.
        muscle: soft tissue that may be muscle.
        limbs: inside the skin, without arms.
        heads: those in view.
    """
    runs = [run for run in _runs(sections, muscle, limbs) if _length_mm(run, sections) >= _LEAST_RUN_MM]
    if heads:
        chosen = [max(own, key=len) for head in heads if (own := [run for run in runs if _below(head, run, sections)])]
        return sorted(chosen, key=_x)
    runs = [run for run in runs if not _is_shin(run, sections)]
    shafts: list[list[Section]] = []
    # From the head down: a bone below another one of the same leg is its shin.
    for run in sorted(runs, key=lambda run: (-run[-1].k, -len(run))):
        if all(abs(_x(run) - _x(other)) > _LEG_MM for other in shafts):
            shafts.append(run)
    return sorted(shafts[:2], key=_x)


def femur_below(sections: Sections, shaft: list[Section], top: int) -> tuple[Mask, bool]:
    """Everything of the thigh bone below a slice, followed along from its shaft.

    Args:
        sections: of the bones.
        shaft: of this bone.
        top: the first slice that is left out.

    Returns:
        Its mask, and whether the knee joint is in view.
    """
    found = np.zeros(sections.pieces.shape, bool)
    start = shaft[len(shaft) // 2]
    chosen = {start.k: [start]}
    for step, end in ((1, top), (-1, -1)):
        last = [start]
        for k in range(start.k + step, end, step):
            last = _next(last, sections, k)
            if not last:
                break
            chosen[k] = last
    knee = _knee(chosen, sections, start.k)
    for k, own in chosen.items():
        if k < top and (knee is None or k > knee):
            found[:, :, k] = np.isin(sections.pieces[:, :, k], [section.number for section in own])
    return found, knee is not None


def _runs(sections: Sections, muscle: Mask, limbs: Mask) -> list[list[Section]]:
    """Sections of shafts, those that follow each other put together."""
    runs: list[list[Section]] = []
    open_runs: list[list[Section]] = []
    for k, found in enumerate(sections.of_slice):
        going_on = []
        limb_sizes = _limb_sizes(limbs[:, :, k], sections.spacing)
        for section in found:
            if not _SHAFT_CM2[0] <= section.area_cm2 <= _SHAFT_CM2[1]:
                continue
            index = tuple((section.middle / sections.spacing[:2]).astype(int))
            if limb_sizes[index] < _LEAST_LIMB_CM2 or not _is_among_muscle(section, muscle[:, :, k], sections):
                continue
            before = [run for run in open_runs if _follows(section, run[-1])]
            run = max(before, key=len, default=[])
            if run:
                open_runs = [other for other in open_runs if other is not run]
            else:
                runs.append(run)
            run.append(section)
            going_on.append(run)
        open_runs = going_on
    return runs


def _limb_sizes(limbs: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """For every pixel of a slice the cross-section, cm², of the limb it lies in."""
    pieces, _ = ndimage.label(limbs)
    sizes = np.bincount(pieces.ravel()) * float(spacing[0] * spacing[1]) / 100
    sizes[0] = 0
    return sizes[pieces]  # type: ignore[no-any-return]


def _is_among_muscle(section: Section, muscle: NDArray[np.bool_], sections: Sections) -> bool:
    low = np.maximum((section.middle - _MUSCLE_REACH_MM) / sections.spacing[:2], 0).astype(int)
    high = ((section.middle + _MUSCLE_REACH_MM) / sections.spacing[:2]).astype(int) + 1
    box = (slice(low[0], high[0]), slice(low[1], high[1]))
    around = sections.pieces[(*box, section.k)] == 0
    return bool(muscle[box][around].mean() >= _MUSCLE_SHARE) if around.any() else False


def _follows(section: Section, other: Section) -> bool:
    growth = section.area_cm2 / other.area_cm2
    return bool(
        np.linalg.norm(section.middle - other.middle) <= _STEP_MM and 1 / _GROWTH <= growth <= _GROWTH
    )  # fmt: skip


def _length_mm(run: list[Section], sections: Sections) -> float:
    return (run[-1].k - run[0].k + 1) * float(sections.spacing[2])


def _x(run: list[Section]) -> float:
    return float(np.mean([section.middle[0] for section in run]))


def _below(head: Head, run: list[Section], sections: Sections) -> bool:
    """Whether a run passes where the shaft under a head is."""
    for section in run:
        below = head.middle[2] - sections.at.z[section.k]
        aside = (section.middle[0] - head.middle[0]) * head.outwards
        if _BELOW_HEAD_MM[0] <= below <= _BELOW_HEAD_MM[1] and _ASIDE_OF_HEAD_MM[0] <= aside <= _ASIDE_OF_HEAD_MM[1]:
            return True
    return False


def _is_shin(run: list[Section], sections: Sections) -> bool:
    """Whether a thin bone goes along with it nearly everywhere."""
    with_fibula = sum(
        any(
            other.number != section.number
            and _FIBULA_CM2[0] <= other.area_cm2 <= min(_FIBULA_CM2[1], 0.6 * section.area_cm2)
            and np.linalg.norm(other.middle - section.middle) <= _FIBULA_REACH_MM
            for other in sections.of_slice[section.k]
        )
        for section in run
    )
    return with_fibula > _FIBULA_SHARE * len(run)


def _next(last: list[Section], sections: Sections, k: int) -> list[Section]:
    """The pieces of a slice that lie over those of the slice before."""
    before = np.isin(sections.pieces[:, :, last[0].k], [section.number for section in last])
    over = np.bincount(sections.pieces[:, :, k][before], minlength=1)
    own = []
    for section in sections.of_slice[k]:
        shared = over[section.number] if section.number < len(over) else 0
        pixels = section.area_cm2 * 100 / float(sections.spacing[0] * sections.spacing[1])
        if shared > 0.3 * min(pixels, before.sum()):
            own.append(section)
    return own


def _knee(chosen: dict[int, list[Section]], sections: Sections, start: int) -> int | None:
    """The slice of the gap between thigh bone and shin: the last one that is no thigh bone."""
    dz = float(sections.spacing[2])
    heights = [k for k in sorted(chosen, reverse=True) if k <= start]
    area = np.array([sum(section.area_cm2 for section in chosen[k]) for k in heights])
    shaft = float(np.median(area[: max(1, len(area) // 4)]))
    wide = np.flatnonzero(area >= _CONDYLES * shaft)
    if not wide.size:
        return None
    # The widest section is that of the condyles or, below them, of the shin.
    first, reach = int(wide[0]), round(_KNEE_REACH_MM / dz)
    for n in range(first + 1, min(len(area), first + reach)):
        above, below = area[first:n].max(), area[n : n + round(_SHIN_MM / dz) + 1].max()
        lowest = area[n] == area[max(0, n - 2) : n + 3].min()
        if lowest and area[n] < _DIP * min(above, below):
            return heights[n]
    return heights[-1] - 1 if heights[-1] > 0 and len(area) < first + reach else None
