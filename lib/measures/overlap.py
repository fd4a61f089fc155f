"""Overlap between two labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

_PIECE = 2**20
"""Voxels that are counted at once."""


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How far what was found covers the reference, for one class (Lee 2021, section 2.6); each 0 to 1.

    Attributes:
        dice: Dice similarity coefficient; ``None`` where neither holds the class: there is nothing to agree on.
        sensitivity: share of the reference that was found; ``None`` where the reference lacks the class.
        ppv: positive predictive value, the share of what was found that is right; ``None`` where nothing was found.
    """

    dice: float | None
    sensitivity: float | None
    ppv: float | None


def overlaps(found: npt.NDArray, reference: npt.NDArray, ids: Mapping[str, int]) -> dict[str, Overlap]:
    """Dice, sensitivity and PPV of each class.

    Args:
        found: integer label of any shape, 0 and up.
        reference: integer label of the same shape.
        ids: name to value; other values in the labels are not compared.

    Raises:
        ValueError: the shapes differ.
    """
    joint = _joint_counts(found, reference, ids)
    in_found, in_reference, both = joint.sum(axis=1), joint.sum(axis=0), joint.diagonal()
    return {
        name: Overlap(
            dice=_share(2 * both[i], in_found[i] + in_reference[i]),
            sensitivity=_share(both[i], in_reference[i]),
            ppv=_share(both[i], in_found[i]),
        )
        for name, i in ids.items()
    }


def dice(a: npt.NDArray, b: npt.NDArray, ids: Mapping[str, int]) -> dict[str, float | None]:
    """Dice similarity coefficient of each class (Yu 2026, section 2.5).

    Args:
        a: integer label of any shape, 0 and up.
        b: integer label of the same shape.
        ids: name to value; other values in the labels are not compared.

    Returns:
        Name to Dice in 0 to 1; ``None`` where neither label holds the class, since there is nothing to agree on.

    Raises:
        ValueError: the shapes differ.
    """
    return {name: overlap.dice for name, overlap in overlaps(a, b, ids).items()}


def _joint_counts(a: npt.NDArray, b: npt.NDArray, ids: Mapping[str, int]) -> npt.NDArray[np.int64]:
    """How many voxels have value i in ``a`` and value j in ``b``."""
    if a.shape != b.shape:
        raise ValueError(f"labels of shape {a.shape} and {b.shape} cannot be compared")
    size = int(max([*ids.values(), a.max(initial=0), b.max(initial=0)])) + 1
    joint = np.zeros(size**2, np.int64)
    order: Literal["F", "C"] = "F" if a.flags.f_contiguous else "C"
    flat_a, flat_b = a.ravel(order), b.ravel(order)
    # Piece by piece: numbers wide enough for all pairs of values would take eight times the memory of a label.
    for start in range(0, a.size, _PIECE):
        piece = slice(start, start + _PIECE)
        joint += np.bincount(flat_a[piece].astype(np.int64) * size + flat_b[piece], minlength=size**2)
    return joint.reshape(size, size)


def _share(part: np.int64, whole: np.int64) -> float | None:
    return float(part) / float(whole) if whole else None
