"""The 3-D and the 2-D U-Net of Lee 2021, section 2.3."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

_GROUPS = 16
"""Of the group normalisation; the paper gives no number. With 8, or with one, the same steps lead less far."""


class UNet(nn.Module):
    """A U-Net in three dimensions (ReLU, then group normalisation) or in two (batch normalisation, then ReLU).

    Initial convolutions, an encoder for each pooling, as many decoders, and a final 1 x 1 convolution. Up-sampling is
    linear; the weights begin as He's. The paper does not say how many convolutions an encoder or a decoder has, nor how
    wide they are. To be quick on a CPU as well, a decoder has one, and what is enlarged has as many channels as what it
    is joined with, as is usual where up-sampling has no weights of its own.

    Args:
        features: channels of each level of the encoder, from the finest to the coarsest; one more than there are
            poolings.
        pools: factors of each pooling, one for each axis (slices, rows, columns), or (rows, columns) in two dimensions.
        outputs: the classes and the background. The network gives logits; the paper's softmax comes after it.
        convolutions: how many each level of the encoder has; two where it is empty.
    """

    def __init__(
        self,
        features: Sequence[int],
        pools: Sequence[Sequence[int]],
        outputs: int,
        convolutions: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if len(features) != len(pools) + 1:
            raise ValueError(f"{len(pools)} poolings need {len(pools) + 1} numbers of features, got {len(features)}")
        self.encoder = Encoder(features, pools, convolutions or (2,) * len(features))
        self.decoder = Decoder(features, pools, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits ``(b, outputs, ...)`` of windowed HU ``(b, 1, ...)``; sizes are multiples of the poolings' product."""
        return self.decoder(self.encoder(x))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """The way down; gives what each level ends in, the bottleneck last."""

    def __init__(self, features: Sequence[int], pools: Sequence[Sequence[int]], convolutions: Sequence[int]) -> None:
        super().__init__()
        axes = len(pools[0])
        pool = nn.MaxPool3d if axes == 3 else nn.MaxPool2d
        levels, before = [], 1
        for factors, after, count in zip([None, *pools], features, convolutions, strict=True):
            parts: list[nn.Module] = [] if factors is None else [pool(tuple(factors))]  # type: ignore[arg-type]
            parts += [_block(axes, before if number == 0 else after, after) for number in range(count)]
            levels.append(nn.Sequential(*parts))
            before = after
        self.levels = nn.ModuleList(levels)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """From the finest to the coarsest."""
        found = []
        for level in self.levels:
            x = level(x)
            found.append(x)
        return found


class Decoder(nn.Module):
    """The way up: each level is enlarged, joined with what the encoder had there, and convolved."""

    def __init__(self, features: Sequence[int], pools: Sequence[Sequence[int]], outputs: int) -> None:
        super().__init__()
        axes = len(pools[0])
        self._mode = "trilinear" if axes == 3 else "bilinear"
        self._factors = [tuple(float(each) for each in factors) for factors in reversed(pools)]
        levels, enlarged = [], features[-1]
        for level in reversed(range(len(pools))):
            width = features[max(level - 1, 0)]  # as wide as the skip that it meets next
            levels.append(_block(axes, features[level] + enlarged, width))
            enlarged = width
        self.levels = nn.ModuleList(levels)
        self.final = (nn.Conv3d if axes == 3 else nn.Conv2d)(features[0], outputs, 1)

    def forward(self, skips: list[torch.Tensor]) -> torch.Tensor:
        """Logits from what the encoder gave."""
        *finer, x = skips
        for level, skip, factors in zip(self.levels, reversed(finer), self._factors, strict=True):
            enlarged = functional.interpolate(x, scale_factor=factors, mode=self._mode, align_corners=False)
            x = level(torch.cat([skip, enlarged], dim=1))
        return self.final(x)  # type: ignore[no-any-return]


def _block(axes: int, before: int, after: int) -> nn.Sequential:
    if axes == 3:
        groups = next(n for n in range(_GROUPS, 0, -1) if after % n == 0)
        return nn.Sequential(nn.Conv3d(before, after, 3, padding=1), nn.ReLU(), nn.GroupNorm(groups, after))
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())
