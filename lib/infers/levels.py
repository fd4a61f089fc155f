"""The trained detector of vertebral levels, in the place of the cold start's search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lib.cold_start.levels import NO_SPINE, NOT_CHECKED, TOO_FEW, SpineLevels, shows_a_spine
from lib.cold_start.spine_discs import spine_range
from lib.images import CTImage
from lib.infers.champions import Champion


class Detector:
    """Finds levels by a champion of ``l3_slice``.

    Args:
        champion: whose networks answer.
        folds: which of them; all without it.
    """

    def __init__(self, champion: Champion, folds: Sequence[int] | None = None) -> None:
        self._champion, self._folds = champion, folds

    def __call__(self, image: CTImage) -> SpineLevels:
        """The levels of an image in canonical order; a single slice is taken as it is, with a warning."""
        from lib.levels.reading import read_levels  # noqa: PLC0415 - PyTorch takes seconds
        from lib.levels.views import STEP_MM, views_of  # noqa: PLC0415

        version = self._champion.version.name
        if image.shape[2] == 1:
            return _without_levels(NOT_CHECKED, version, l3_slice=0)
        if not shows_a_spine(image):
            return _without_levels(TOO_FEW, version)
        views = views_of(image)
        if spine_range(views.course.strength, STEP_MM) is None:
            return _without_levels(NO_SPINE, version)
        rows = self._champion.ensemble.read(views, self._folds)
        found = read_levels(rows, views.z_mm, slices=image.shape[2], slice_mm=float(image.spacing[2]))
        return replace(
            found,
            warnings=(*self._champion.warnings, *found.warnings) if found.l3_slice is not None else found.warnings,
            model_version=version,
            centres_mm=views.course.line,
        )


def _without_levels(warning: str, version: str, l3_slice: int | None = None) -> SpineLevels:
    return SpineLevels(levels=(), l3_slice=l3_slice, confidence=0.0, warnings=(warning,), model_version=version)
