"""The trained detector of vertebral levels, in the place of the cold start's search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lib.cold_start.levels import NOT_CHECKED, SpineLevels
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
        from lib.levels.views import views_of  # noqa: PLC0415

        if image.shape[2] == 1:
            return SpineLevels(
                levels=(),
                l3_slice=0,
                confidence=0.0,
                warnings=(NOT_CHECKED,),
                model_version=self._champion.version.name,
            )
        views = views_of(image)
        rows = self._champion.ensemble.read(views, self._folds)
        found = read_levels(rows, views.z_mm, slices=image.shape[2], slice_mm=float(image.spacing[2]))
        return replace(
            found,
            warnings=(*self._champion.warnings, *found.warnings) if found.l3_slice is not None else found.warnings,
            model_version=self._champion.version.name,
        )
