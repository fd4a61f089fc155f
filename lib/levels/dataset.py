"""Labelled CTs as views and targets on disk, made once for all trainings."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lib.cold_start.levels import find_levels
from lib.images import CTImage
from lib.levels.learning import Sample
from lib.levels.targets import Targets, targets_of
from lib.levels.views import views_of


@dataclass(frozen=True, kw_only=True)
class LabelledCT:
    """One labelled CT.

    Attributes:
        key: another one as soon as image or label is another one.
        patient: whose CT it is.
        fold: the fold that validates on this patient.
        load: gives the CT and its label (ids of ``l3_slice``), both in canonical order.
    """

    key: str
    patient: str
    fold: int
    load: Callable[[], tuple[CTImage, npt.NDArray]]


@dataclass(frozen=True, kw_only=True)
class KeptSample:
    """What is kept of a labelled CT; the arrays of :class:`lib.levels.views.SpineViews`.

    Attributes:
        frontal: (2, n, 96) float16.
        sagittal: (2, n, 56) float16.
        z_mm: (n,) height of the rows above the lowest slice.
        targets: of every row.
        landmarks_mm: height at which the cold start finds the inferior endplate of L3; NaN where it does not.
    """

    frontal: npt.NDArray[np.float16]
    sagittal: npt.NDArray[np.float16]
    z_mm: npt.NDArray[np.float64]
    targets: Targets
    landmarks_mm: float

    @property
    def sample(self) -> Sample:
        """For the training."""
        return Sample.of(self.frontal, self.sagittal, self.targets)


def keep_sample(path: Path, ct: LabelledCT) -> None:
    """Make views and targets of a CT, unless they are there."""
    if path.is_file():
        return
    image, label = ct.load()
    views = views_of(image)
    targets = targets_of(image, label, views.course)
    by_landmarks = find_levels(image).l3_slice
    landmarks_mm = np.nan if by_landmarks is None else by_landmarks * float(image.spacing[2])
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part.npz")
    np.savez_compressed(
        part,
        frontal=views.frontal,
        sagittal=views.sagittal,
        z_mm=views.z_mm,
        landmarks_mm=landmarks_mm,
        **vars(targets),
    )
    part.replace(path)


def read_sample(path: Path) -> KeptSample:
    """What :func:`keep_sample` wrote."""
    with np.load(path) as arrays:
        targets = Targets(**{field.name: arrays[field.name] for field in fields(Targets)})
        return KeptSample(
            frontal=arrays["frontal"],
            sagittal=arrays["sagittal"],
            z_mm=arrays["z_mm"],
            targets=targets,
            landmarks_mm=float(arrays["landmarks_mm"]),
        )


def is_readable(path: Path) -> bool:
    """Whether a file holds a sample as it is made now."""
    try:
        read_sample(path)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return False
    return True
