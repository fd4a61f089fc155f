"""The network that reads the views along a spine: what is at every row, from its look and from counting."""

from __future__ import annotations

import torch
from monai.networks.blocks import Convolution, ResidualUnit
from torch import nn

from lib.levels.targets import IDENTITIES, RIB
from lib.levels.views import FRONTAL_MM, SAGITTAL_MM

HEADS = {"endplate": 1, "superior": 1, "crest": 1, "transitional": 1, "rib": len(RIB), "identity": len(IDENTITIES)}
ANCHORS = ("T1", "S1")
"""Where counting begins; many images show none of them."""
_WIDTHS = (12, 24, 32)
_ROW_FEATURES = 64
_DILATIONS = (1, 2, 4, 8, 16, 32)
_DILATIONS_AFTER_COUNTING = (1, 4, 16, 32)
_ROWS_PER_ENDPLATE = 3.76
"""Sum over the rows of the bell that stands for one endplate in the targets."""


class LevelNet(nn.Module):
    """Frontal and sagittal views to logits for every row along the spine.

    In place of the YOLOv3 of Ha 2021, which looks for boxes in projections of the whole body and takes the vertebra at
    the iliac crest for L4: the views follow the spine, so that a level is a place on a line and no box. Residual
    blocks reduce every row of a view to a vector, dilated ones look along the spine. The look of a row does not tell
    a thoracic vertebra from the next, so endplates are found first and counted, from the first thoracic vertebra down
    and from the sacrum up; a vertebra is named from its look and both counts. No single landmark stands for a level.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frontal = _view(len(FRONTAL_MM))
        self.sagittal = _view(len(SAGITTAL_MM))
        self.along = _along(2 * _ROW_FEATURES, _DILATIONS)
        self.first = nn.Conv1d(_ROW_FEATURES, 1 + len(ANCHORS), 1)
        self.after = _along(_ROW_FEATURES + 2 * len(ANCHORS), _DILATIONS_AFTER_COUNTING)
        self.heads = nn.ModuleDict({name: nn.Conv1d(_ROW_FEATURES, count, 1) for name, count in HEADS.items()})

    def forward(self, frontal: torch.Tensor, sagittal: torch.Tensor) -> dict[str, torch.Tensor]:
        """Read the views.

        Args:
            frontal: (b, 2, n, 96), 0 to 1; rows outside of the image are all 0.
            sagittal: (b, 2, n, 56).

        Returns:
            Logits (b, c, n) by the names of :data:`HEADS`, and ``anchors``: (b, 2, 1 + n) log probabilities of the
            place of each of :data:`ANCHORS`, the first entry for "nowhere"; ``counted`` (b, 1, n), logits of the
            endplates that were counted.
        """
        seen = self.along(torch.cat([self.frontal(frontal)[..., 0], self.sagittal(sagittal)[..., 0]], dim=1))
        within = (frontal.amax(dim=(1, 3)) > 0)[:, None]
        counted, anchors = self.first(seen).split((1, len(ANCHORS)), dim=1)
        counted = counted.masked_fill(~within, _NEVER)
        anchors = anchors.masked_fill(~within, _NEVER)
        anchors = torch.cat([torch.zeros_like(anchors[..., :1]), anchors], dim=2).log_softmax(dim=2)
        found = self.after(torch.cat([seen, counts(counted, anchors)], dim=1))
        return {name: head(found) for name, head in self.heads.items()} | {"anchors": anchors, "counted": counted}


_NEVER = -30.0


def counts(endplates: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """How many vertebrae every row is above each anchor, in tens, and how surely the anchor is in view.

    Args:
        endplates: (b, 1, n) logits.
        anchors: (b, 2, 1 + n) log probabilities of their places, the first entry for "nowhere".

    Returns:
        (b, 4, n): first the counts, then the certainties.
    """
    upto = endplates.sigmoid().cumsum(dim=2) / _ROWS_PER_ENDPLATE
    place = anchors[..., 1:].exp()
    there = place.sum(dim=2, keepdim=True)
    above = there * upto - (place * upto).sum(dim=2, keepdim=True)
    return torch.cat([above / 10, there.expand_as(above)], dim=1)


def _view(width: int) -> nn.Sequential:
    """(b, 2, n, width) to (b, features, n, 1)."""
    blocks: list[nn.Module] = []
    channels = 2
    for more in _WIDTHS:
        blocks.append(ResidualUnit(2, channels, more, strides=(1, 2), subunits=2, norm="BATCH", act="LEAKYRELU"))
        channels, width = more, -(-width // 2)
    across = Convolution(2, channels, _ROW_FEATURES, kernel_size=(1, width), padding=0, norm="BATCH", act="LEAKYRELU")
    return nn.Sequential(*blocks, across)


def _along(channels: int, dilations: tuple[int, ...]) -> nn.Sequential:
    """(b, channels, n) to (b, features, n)."""
    blocks: list[nn.Module] = [Convolution(1, channels, _ROW_FEATURES, kernel_size=1, norm="BATCH", act="LEAKYRELU")]
    blocks += [
        ResidualUnit(1, _ROW_FEATURES, _ROW_FEATURES, subunits=1, dilation=each, norm="BATCH", act="LEAKYRELU")
        for each in dilations
    ]
    return nn.Sequential(*blocks)
