"""Hounsfield ranges of tissues, each with its source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class HounsfieldRange:
    """A closed range of HU and where it comes from."""

    low: float
    high: float
    source: str

    def contains(self, hu: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which voxels lie in the range, both ends included."""
        return (hu >= self.low) & (hu <= self.high)


MUSCLE = HounsfieldRange(low=-29, high=150, source="Lee 2021, section 2.2; Yu 2026, introduction")
FAT = HounsfieldRange(low=-190, high=-30, source="Lee 2021, section 2.2")
BONE = HounsfieldRange(low=250, high=np.inf, source="Lee 2021, section 2.2")
INTRAMUSCULAR_FAT = HounsfieldRange(low=-190, high=-30, source="Lee 2021, section 2.2, applied as in Ha 2021")
SOFT_TISSUE_WINDOW = HounsfieldRange(
    low=-160, high=240, source="the usual window of 400 HU around 40; Lee 2021, section 2.3, names it without numbers"
)
THIGH_WINDOW = HounsfieldRange(low=-57, high=164, source="Kim 2024, Pre-processing")
