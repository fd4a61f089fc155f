"""The study's models: five small U-Nets on the folds of what is labelled, much like those that the app trains."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from monai.losses import DiceCELoss
from torch import nn
from torch.nn import functional

from scripts.active_learning.slices import Slices

FOLDS = 5
_CENTRE_HU, _SCALE_HU = 20.0, 100.0
_FEATURES = (8, 16, 32, 64, 64)
_DROPOUT = 0.2
_WITH_DROPOUT = 64
"""Features from which on there is dropout: in the shallow stages it keeps so small a network from learning at all."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long the networks are trained.

    Attributes:
        iterations: of the first training, for each fold.
        more: iterations of each later one, which starts from the weights of the one before.
        batch_size: slices in a batch.
        learning_rate: of AdamW, at the start; it falls to zero. Later trainings begin with half of it.
    """

    iterations: int = 300
    more: int = 80
    batch_size: int = 2
    learning_rate: float = 3e-3


class Learner:
    """An ensemble that is trained on some slices, and trained on when there are more, as the app fine-tunes its own.

    Args:
        classes: how many there are, without the background.
        schedule: how long.
        device: "cpu" or "cuda".
    """

    def __init__(self, classes: int, schedule: Schedule, device: str) -> None:
        self._classes, self._schedule, self._device = classes, schedule, torch.device(device)
        self._networks: list[PlainConvUNet] = []

    def fit(self, slices: Slices, seed: int) -> None:
        """Train fold k on all slices but those of fold k; a case's fold depends on its name only."""
        folds = np.array([zlib.crc32(case.encode()) % FOLDS for case in slices.cases])
        images, labels = self._images(slices), torch.from_numpy(slices.labels.astype(np.int64))[:, None]
        begun, self._networks = self._networks, []
        for fold in range(FOLDS):
            torch.manual_seed(seed + fold)
            network = begun[fold] if begun else _network(self._classes).to(self._device)
            iterations, rate = self._schedule.iterations, self._schedule.learning_rate
            if begun:
                iterations, rate = self._schedule.more, rate / 2
            chosen = torch.from_numpy(np.flatnonzero(folds != fold))
            self._train(network, images[chosen], labels[chosen].to(self._device), iterations, rate)
            self._networks.append(network)

    def save(self, path: Path) -> None:
        """Write the weights."""
        torch.save([network.state_dict() for network in self._networks], path)

    def load(self, path: Path) -> None:
        """Go on from weights that :meth:`save` wrote."""
        self._networks = []
        for weights in torch.load(path, map_location=self._device, weights_only=True):
            network = _network(self._classes).to(self._device).eval()
            network.load_state_dict(weights)
            self._networks.append(network)

    def probabilities(self, slices: Slices) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """What the folds make of slices.

        Returns:
            ``(n, folds, 1 + classes, x, y)`` probabilities, and ``(n, features)``: the bottleneck of the first fold,
            averaged over the quarters of the slice.
        """
        given, features = [], []
        with torch.inference_mode():
            for image in self._images(slices).split(16):
                skips = self._networks[0].encoder(image)
                features.append(functional.adaptive_avg_pool2d(skips[-1], 2).flatten(1).cpu().numpy())
                passes = [self._networks[0].decoder(skips), *(network(image) for network in self._networks[1:])]
                given.append(torch.stack(passes, dim=1).softmax(dim=2).cpu().numpy())
        return np.concatenate(given), np.concatenate(features)

    def with_dropout(self, slices: Slices, samples: int) -> npt.NDArray[np.float32]:
        """Probabilities ``(n, samples, 1 + classes, x, y)`` of the first fold with its dropout left on."""
        network = self._networks[0]
        for module in network.modules():
            module.train(isinstance(module, nn.Dropout2d))
        with torch.inference_mode():
            given = [
                torch.stack([network(image) for _ in range(samples)], dim=1).softmax(dim=2).cpu().numpy()
                for image in self._images(slices).split(16)
            ]
        network.eval()
        return np.concatenate(given)

    def _images(self, slices: Slices) -> torch.Tensor:
        return torch.from_numpy((slices.hu - _CENTRE_HU) / _SCALE_HU)[:, None].to(self._device)

    def _train(
        self, network: PlainConvUNet, images: torch.Tensor, labels: torch.Tensor, iterations: int, rate: float
    ) -> None:
        loss = DiceCELoss(to_onehot_y=True, softmax=True, batch=True, include_background=False)
        optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-2)
        fall = torch.optim.lr_scheduler.PolynomialLR(optimizer, iterations, power=0.9)
        network.train()
        for _ in range(iterations):
            chosen = torch.randint(len(images), (self._schedule.batch_size,), device=self._device)
            image, label = _augmented(images[chosen], labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss(network(image), label).backward()
            optimizer.step()
            fall.step()
        network.eval()


def _network(classes: int) -> PlainConvUNet:
    stages = len(_FEATURES)
    network = PlainConvUNet(
        1,
        stages,
        list(_FEATURES),
        nn.Conv2d,
        3,
        [1] + [2] * (stages - 1),
        2,
        1 + classes,
        1,
        conv_bias=True,
        norm_op=nn.InstanceNorm2d,
        norm_op_kwargs={"affine": True},
        dropout_op=nn.Dropout2d,
        dropout_op_kwargs={"p": _DROPOUT},
        nonlin=nn.LeakyReLU,
    )
    for block in network.modules():
        if isinstance(block, ConvDropoutNormReLU) and block.output_channels < _WITH_DROPOUT:
            block.dropout.p = 0.0
    return network


def _augmented(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turned, scaled, shifted, mirrored left to right, brighter or darker, noisier; each picture in its own way."""
    n, device = len(images), images.device
    angle = (torch.rand(n, device=device) - 0.5) * 0.5
    scale = 1 + (torch.rand(n, device=device) - 0.5) * 0.4
    mirror = torch.where(torch.rand(n, device=device) < 0.5, -1.0, 1.0)
    ratio = images.shape[3] / images.shape[2]
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    zero = torch.zeros_like(angle)
    # Axis 2 of the pictures is x: grid_sample's second coordinate.
    matrix = torch.stack(
        [
            torch.stack([cosine, sine / ratio * mirror, zero], dim=1),
            torch.stack([-sine * ratio, cosine * mirror, zero], dim=1),
        ],
        dim=1,
    )
    matrix[:, :, 2] = (torch.rand(n, 2, device=device) - 0.5) * 0.1
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    target = functional.grid_sample(labels.float(), grid, mode="nearest", align_corners=False).long()
    gain = 1 + (torch.rand(n, 1, 1, 1, device=device) - 0.5) * 0.3
    shift = (torch.rand(n, 1, 1, 1, device=device) - 0.5) * 0.4
    noise = torch.rand(n, 1, 1, 1, device=device) * 0.2 * torch.randn_like(moved)
    return moved * gain + shift + noise, target
