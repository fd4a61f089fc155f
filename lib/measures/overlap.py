"""Overlap between two labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def dice(a: npt.NDArray, b: npt.NDArray, ids: dict[str, int]) -> dict[str, float | None]:
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
    if a.shape != b.shape:
        raise ValueError(f"labels of shape {a.shape} and {b.shape} cannot be compared")
    labelled = (a > 0) | (b > 0)  # what is background in both counts for no class, and is most of a volume
    a, b = a[labelled], b[labelled]
    size = max([*ids.values(), a.max(initial=0), b.max(initial=0)]) + 1
    joint = np.bincount(a.astype(np.int64) * int(size) + b, minlength=int(size) ** 2).reshape(size, size)
    in_a, in_b, both = joint.sum(axis=1), joint.sum(axis=0), joint.diagonal()
    result: dict[str, float | None] = {}
    for name, i in ids.items():
        total = int(in_a[i] + in_b[i])
        result[name] = 2.0 * int(both[i]) / total if total else None
    return result
