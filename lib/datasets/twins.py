"""The same pictures in two cases: a digest of every axial slice, whatever the order of the voxels in the file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from lib.images import CTImage


def slice_digests(image: CTImage) -> frozenset[bytes]:
    """A digest of each axial slice with something on it, upright; noise makes that of any two scans differ.

    Slices of one value, such as air above the head, say nothing and are left out.
    """
    hu = image.canonical().hu
    found = set()
    for k in range(hu.shape[2]):
        plane = np.ascontiguousarray(np.rint(hu[:, :, k]), np.int16)
        if plane.min() != plane.max():
            shape = np.array(plane.shape, np.int64).tobytes()
            found.add(hashlib.blake2b(shape + plane.tobytes(), digest_size=16).digest())
    return frozenset(found)


@dataclass(frozen=True, kw_only=True)
class Twin:
    """A case that shares slices with an earlier one.

    Attributes:
        other: the earlier case.
        shared: how many slices both have.
        all_shared: neither has a slice that the other has not.
    """

    other: str
    shared: int
    all_shared: bool


@dataclass
class Twins:
    """Cases by the digests of their slices."""

    _case_of: dict[bytes, str] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def add(self, case: str, digests: frozenset[bytes]) -> list[Twin]:
        """Remember a case, and tell those of the earlier ones with which it shares slices."""
        shared: dict[str, int] = {}
        for digest in digests:
            other = self._case_of.setdefault(digest, case)
            if other != case:
                shared[other] = shared.get(other, 0) + 1
        self._counts[case] = len(digests)
        return [
            Twin(other=other, shared=count, all_shared=count == len(digests) == self._counts[other])
            for other, count in sorted(shared.items())
        ]
