"""UNETR (Hatamizadeh 2021), as Kim 2024 segments muscles of the thigh: MONAI's, in an encoder and a decoder."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks import nets
from torch import nn

PATCH = 16
"""Voxels along each side of what becomes one token (Kim 2024, Pre-processing)."""
_SKIPS = (3, 6, 9)
"""Layers of the transformer whose tokens the decoder also sees, counted from 0 as MONAI does."""


class UNETR(nn.Module):
    """MONAI's UNETR, whose tokens have learnt positions: it takes inputs of one size only.

    Args:
        size: of an input, (slices, x, y), multiples of 16.
        outputs: the classes and the background.
        features: channels of the finest level of the decoder; each coarser one has twice as many.
        hidden_size: of a token.
        heads: of the attention.
    """

    def __init__(
        self, size: tuple[int, int, int], outputs: int, *, features: int, hidden_size: int, heads: int
    ) -> None:
        super().__init__()
        whole = nets.UNETR(
            1, outputs, size, feature_size=features, hidden_size=hidden_size, mlp_dim=4 * hidden_size, num_heads=heads
        )
        self.encoder = Encoder(whole.vit, tuple(n // PATCH for n in size))
        self.decoder = Decoder(whole)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits ``(b, outputs, z, x, y)`` of ``(b, 1, z, x, y)``."""
        return self.decoder(self.encoder(x))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """The transformer; gives the input and the tokens of some layers, those of the last one at the end."""

    def __init__(self, transformer: nn.Module, tokens: tuple[int, ...]) -> None:
        super().__init__()
        self.transformer, self._tokens = transformer, tokens

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The input, and ``(b, hidden_size, z / 16, x / 16, y / 16)`` of each layer."""
        last, layers = self.transformer(x)
        return [x, *(self._in_space(each) for each in (*(layers[i] for i in _SKIPS), last))]

    def _in_space(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *self._tokens)


class Decoder(nn.Module):
    """The convolutions."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.skips = nn.ModuleList([whole.encoder1, whole.encoder2, whole.encoder3, whole.encoder4])
        self.levels = nn.ModuleList([whole.decoder5, whole.decoder4, whole.decoder3, whole.decoder2])
        self.final = whole.out

    def forward(self, found: list[torch.Tensor]) -> torch.Tensor:
        """Logits from what the encoder gave."""
        *finer, x = found
        for level, skip, seen in zip(self.levels, reversed(self.skips), reversed(finer), strict=True):
            x = level(x, skip(seen))
        return self.final(x)  # type: ignore[no-any-return]
