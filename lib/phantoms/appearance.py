"""From tissues to Hounsfield units: what a perfect scanner would see of a slice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Grid
from lib.phantoms.frame import Frame
from lib.phantoms.tissues import BY_ID


class Appearance:
    """HU of one person's tissues, with their patterns."""

    def __init__(self, frame: Frame) -> None:
        share = frame.person.strength("contrast")
        self._mean = np.zeros(256, np.float32)
        for tissue in BY_ID:
            self._mean[tissue.id] = tissue.hu + share * (tissue.enhanced - tissue.hu)

    def hu(self, tissue: npt.NDArray[np.uint8], grid: Grid, z: float) -> npt.NDArray[np.float32]:
        """HU of a slice without blur and noise.

        Args:
            tissue: (nx, ny) ids.
            grid: its voxel centres, reference mm.
            z: its height, reference mm.
        """
        return self._mean[tissue]  # type: ignore[no-any-return]
