"""Losses over the voxels that somebody judged."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from lib.networks.labels import UNJUDGED

_SMOOTH = 1e-5


def loss_function(name: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The loss of a recipe: of logits ``(b, outputs, ...)`` and values ``(b, ...)``, some of them unjudged."""
    return {"cross_entropy": cross_entropy, "dice_cross_entropy": dice_cross_entropy}[name]


def cross_entropy(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Mean over the judged voxels (Lee 2021, section 2.3); 0 where there are none."""
    judged = (label != UNJUDGED).sum().clamp(min=1)
    total = functional.cross_entropy(logits.float(), label.long(), ignore_index=UNJUDGED, reduction="sum")
    return total / judged


def dice_cross_entropy(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, and 1 less the mean soft Dice of the classes that the batch shows, without the background."""
    judged = label != UNJUDGED
    values = torch.where(judged, label, 0).long()
    probabilities = logits.float().softmax(dim=1)
    # What is said of each voxel's own class is gathered: to write labels out as maps takes long for many classes.
    said = probabilities.gather(1, values[:, None])[:, 0] * judged
    both = said.new_zeros(logits.shape[1]).index_add(0, values.flatten(), said.flatten())
    drawn = torch.bincount(values[judged], minlength=logits.shape[1])
    sizes = (probabilities * judged[:, None]).sum((0, *range(2, logits.ndim))) + drawn
    dice = ((2 * both + _SMOOTH) / (sizes + _SMOOTH))[1:][drawn[1:] > 0]
    mean = dice.mean() if len(dice) else probabilities.sum() * 0 + 1
    return cross_entropy(logits, label) + 1 - mean
