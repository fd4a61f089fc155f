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
    classes = logits.shape[1]
    probabilities = logits.float().softmax(dim=1) * judged[:, None]
    target = functional.one_hot(torch.where(judged, label, 0).long(), classes).movedim(-1, 1) * judged[:, None]
    axes = (0, *range(2, logits.ndim))
    both = (probabilities * target).sum(axes)[1:]
    sizes = (probabilities.sum(axes) + target.sum(axes))[1:]
    there = target.sum(axes)[1:] > 0
    dice = (2 * both + _SMOOTH) / (sizes + _SMOOTH)
    mean = dice[there].mean() if there.any() else probabilities.sum() * 0 + 1
    return cross_entropy(logits, label) + 1 - mean
