"""A CT as the detector of levels sees it: frontal and sagittal projections along the straightened spine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lib.cold_start.spine_axis import SpineCourse, course_along, find_axis
from lib.images import CTImage

STEP_MM = 2.0
FRONTAL_MM = (np.arange(96) - 47.5) * 3.0
"""Places across the spine in the frontal views: far enough for the lowest ribs and the tops of the iliac crests."""
SAGITTAL_MM = np.arange(56) * 2.0 - 72.0
"""Places from back to front in the sagittal views: spinous processes to the front of the bodies and a little beyond."""
_SLAB_MM = np.arange(-60.0, 31.0, 4.0)
_BODY_SLAB_MM = np.arange(-14.0, 15.0, 4.0)
_MIDDLE_MM = np.arange(-8.0, 9.0, 4.0)
_BESIDE_MM = np.array([-18.0, -15.0, -12.0, 12.0, 15.0, 18.0])
_OUTSIDE_HU = -1000.0
# Air, soft tissue and bone apart; what is denser is metal or cortex, of which more says nothing.
_WINDOW_HU = (-150.0, 650.0)


@dataclass(frozen=True, kw_only=True)
class SpineViews:
    """Projections along the spine, one row for each 2 mm of its length from foot to head.

    Attributes:
        frontal: (2, n, 96) float16, 0 to 1: the densest and the mean of a slab, along :data:`FRONTAL_MM`, from the
            patient's left to the right. The first reaches from the spinous processes to the front of the bodies, the
            second through the bodies only.
        sagittal: (2, n, 56) float16, 0 to 1: means along :data:`SAGITTAL_MM` of the middle of the bodies and of
            the pedicles and foramina beside them.
        course: where the rows lie.
    """

    frontal: npt.NDArray[np.float16]
    sagittal: npt.NDArray[np.float16]
    course: SpineCourse

    def __len__(self) -> int:
        return len(self.course)

    @property
    def z_mm(self) -> npt.NDArray[np.float64]:
        """(n,) height of the rows above the lowest slice, mm."""
        return self.course.line[:, 2]


def views_of(upright: CTImage) -> SpineViews:
    """Straighten the spine of a CT in canonical order and project what is around it."""
    course = course_along(find_axis(upright), STEP_MM)
    look = _Look(upright, course)
    return SpineViews(
        frontal=_stacked(
            look.nearest(FRONTAL_MM, _SLAB_MM).max(axis=2),
            look.nearest(FRONTAL_MM, _BODY_SLAB_MM).mean(axis=2),
        ),
        sagittal=_stacked(
            look.between(_MIDDLE_MM, SAGITTAL_MM).mean(axis=1),
            look.between(_BESIDE_MM, SAGITTAL_MM).mean(axis=1),
        ),
        course=course,
    )


@dataclass(frozen=True)
class _Look:
    """Samples of a CT in the frames along a course, HU clipped to the window, (row, across, deep)."""

    image: CTImage
    course: SpineCourse

    def _voxels(self, across: npt.NDArray, deep: npt.NDArray) -> npt.NDArray[np.float32]:
        line, side, front = (
            (vectors / self.image.spacing).astype(np.float32).T[:, :, None, None]
            for vectors in (self.course.line, self.course.side, self.course.front)
        )
        return line + across.astype(np.float32)[:, None] * side + deep.astype(np.float32) * front  # type: ignore[no-any-return]

    def nearest(self, across: npt.NDArray, deep: npt.NDArray) -> npt.NDArray[np.float32]:
        """From the nearest voxel each."""
        index = np.rint(self._voxels(across, deep)).astype(np.intp)
        shape = np.array(self.image.shape)[:, None, None, None]
        inside = ((index >= 0) & (index < shape)).all(axis=0)
        i, j, k = np.clip(index, 0, shape - 1)
        hu = np.where(inside, self.image.hu[i, j, k], _OUTSIDE_HU)
        return np.clip(hu, *_WINDOW_HU).astype(np.float32)

    def between(self, across: npt.NDArray, deep: npt.NDArray) -> npt.NDArray[np.float32]:
        """From the eight voxels around each."""
        hu = ndimage.map_coordinates(
            self.image.hu,
            self._voxels(across, deep),
            order=1,
            mode="constant",
            cval=_OUTSIDE_HU,
            output=np.float32,
        )
        return np.clip(hu, *_WINDOW_HU)


def _stacked(*views: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    low, high = _WINDOW_HU
    return ((np.stack(views) - low) / (high - low)).astype(np.float16)
