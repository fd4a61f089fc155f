"""A GPU that has no room."""

from __future__ import annotations

from lib.networks.engines import GpuMemoryError


class FullGpu:
    """An engine whose memory is too small for stacks of more than some slices."""

    def __init__(self, engine, most):
        self._engine, self._most = engine, most

    def run(self, image, folds):
        if image.shape[2] > self._most:
            raise GpuMemoryError("full")
        return self._engine.run(image, folds)
