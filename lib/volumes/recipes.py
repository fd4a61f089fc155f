"""Training recipes of networks on volumes, a row of data for each task, network and preset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from torch import nn

from lib.anatomy.hounsfield import SOFT_TISSUE_WINDOW, THIGH_WINDOW
from lib.refusals import Refusal
from lib.volumes.unet import UNet
from lib.volumes.unetr import PATCH, UNETR

_POOLS = {
    "unet_3d": ((1, 2, 2), (2, 2, 2), (2, 2, 2)),
    "unet_3d_deep": ((2, 2, 2),) * 4,
    "unet_2d": ((2, 2),) * 4,
}
"""The first pooling of the 3-D U-Net of Lee 2021 keeps all slices (section 2.3). That of Kim 2024 is not described; the
deep one is a usual one."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One preset of one network.

    A version keeps its recipe, so whatever is changed later, it answers as it was trained. With a parent version,
    network, grid and window are the parent's, or its weights would not fit.

    Attributes:
        name: what a user chooses.
        architecture: a key of :data:`ARCHITECTURES`.
        features: channels of each level; of UNETR, of the finest.
        convolutions: of each level of a U-Net's encoder; two each where it is empty.
        hidden_size: of UNETR's tokens; 0 for other networks.
        heads: of UNETR's attention; 0 for other networks.
        patch: what the network learns from: slices, and voxels along x and y; 1 slice for a network in two dimensions.
            An answer is made from windows of this size, of the whole plane where that is smaller.
        in_plane_mm: of the grid, along x and y; 0 for that of the image.
        slice_mm: of the grid, along z; 0 for that of the image.
        whole_voxels: whether a voxel of the grid is a whole number of voxels of the image or the reverse, as near to
            the size that is wanted as can be. A CT that is about as coarse as wanted is then not resampled at all, and
            what is one voxel thin is not lost.
        window_hu: the HU that become 0 and 1; what is beyond is cut off.
        gamma: power to which what lies between is raised.
        step: of a window to the next, as a part of its size; the rest overlaps.
        least_part: what an answer leaves out: voxels of a class that hang together, but are a smaller part than this of
            the largest such piece of the class. 0 where a class may lie in many places.
        loss: "cross_entropy", as in the paper, or "dice_cross_entropy", which also adds the soft Dice.
        optimizer: "sgd", as in the paper, or "adamw", which is much further after the few hundred steps that a small
            machine has time for.
        mirroring: whether patches are mirrored left to right by chance.
        scaling: by how much patches are enlarged or made smaller in the plane by chance, as a part.
        epochs: of a training from scratch; the learning rate falls polynomially to zero over them.
        fine_tune_epochs: of a training that starts from a parent's weights.
        iterations_per_epoch: batches that an epoch trains on.
        batch_size: patches in a batch.
        patches_per_volume: how many after each other are drawn from the same CT.
        learning_rate: of the first epoch of a training from scratch.
        fine_tune_lr: of the first epoch of a training from a parent's weights.
    """

    name: str
    architecture: str
    features: tuple[int, ...]
    convolutions: tuple[int, ...] = ()
    hidden_size: int = 0
    heads: int = 0
    patch: tuple[int, int, int]
    in_plane_mm: float = 0.0
    slice_mm: float = 0.0
    whole_voxels: bool = False
    window_hu: tuple[float, float] = (SOFT_TISSUE_WINDOW.low, SOFT_TISSUE_WINDOW.high)
    gamma: float = 1.0
    step: float = 0.75
    least_part: float = 0.0
    loss: Literal["cross_entropy", "dice_cross_entropy"] = "cross_entropy"
    optimizer: Literal["sgd", "adamw"] = "sgd"
    mirroring: bool = True
    scaling: float = 0.0
    epochs: int
    fine_tune_epochs: int
    iterations_per_epoch: int
    batch_size: int
    patches_per_volume: int = 1
    learning_rate: float
    fine_tune_lr: float

    @property
    def stride(self) -> tuple[int, ...]:
        """Sizes of what the network sees are multiples of these: (z, x, y), or (x, y) in two dimensions."""
        return ARCHITECTURES[self.architecture].stride

    @property
    def size(self) -> tuple[int, int, int] | None:
        """The only size that the network takes, (z, x, y); ``None`` where any multiple of the stride will do."""
        return self.patch if ARCHITECTURES[self.architecture].fixed else None

    @property
    def flat(self) -> bool:
        """Whether the network sees single slices."""
        return len(self.stride) == 2

    def build(self, outputs: int) -> nn.Module:
        """The network, its weights left to chance."""
        return ARCHITECTURES[self.architecture].build(self, outputs)

    def following(self, parent: Recipe) -> Recipe:
        """This preset on the network, grid and window of a recipe whose weights are trained on."""
        kept = ["architecture", "features", "convolutions", "hidden_size", "heads", "patch", "in_plane_mm", "slice_mm"]
        kept += ["whole_voxels", "step", "least_part", "window_hu", "gamma"]
        return replace(self, **{name: getattr(parent, name) for name in kept})


@dataclass(frozen=True)
class Architecture:
    """A kind of network.

    Attributes:
        build: makes one from its recipe and the number of its outputs.
        stride: see :attr:`Recipe.stride`.
        fixed: whether it takes inputs of the size of the recipe's patch only.
    """

    build: Callable[[Recipe, int], nn.Module]
    stride: tuple[int, ...]
    fixed: bool = False


def _unet(kind: str, recipe: Recipe, outputs: int) -> nn.Module:
    return UNet(recipe.features, _POOLS[kind], outputs, recipe.convolutions)


def _unetr(recipe: Recipe, outputs: int) -> nn.Module:
    return UNETR(recipe.patch, outputs, features=recipe.features[0], hidden_size=recipe.hidden_size, heads=recipe.heads)


ARCHITECTURES: dict[str, Architecture] = {
    "unet_3d": Architecture(partial(_unet, "unet_3d"), (4, 8, 8)),
    "unet_3d_deep": Architecture(partial(_unet, "unet_3d_deep"), (16, 16, 16)),
    "unet_2d": Architecture(partial(_unet, "unet_2d"), (16, 16)),
    "unetr": Architecture(_unetr, (PATCH, PATCH, PATCH), fixed=True),
}

# Lee 2021, section 2.3: 512 x 512 x 8, SGD, cross-entropy. Widths, numbers of convolutions, rates, batch and number of
# steps are not given there. Most of the time goes into the two finest levels, so these have one convolution each.
_PAPER_3D = Recipe(
    name="paper",
    architecture="unet_3d",
    features=(32, 64, 128, 128),
    convolutions=(1, 1, 2, 2),
    step=0.875,
    patch=(8, 512, 512),
    epochs=100,
    fine_tune_epochs=20,
    iterations_per_epoch=100,
    batch_size=2,
    learning_rate=5e-2,
    fine_tune_lr=1e-2,
)
# For two cores. The grid bounds what can be learnt: labels of phantoms (pixels of 1.7 mm) that are resampled and taken
# back keep a mean Dice of 0.999 at 1.5 mm, 0.991 at 2 mm, 0.96 at 2.5 mm and 0.92 at 3 mm; the thin skin is lost first.
# The window is wide, for most voxels of the skin are half air there, and as black as air in a soft-tissue window.
_SMALL_3D = Recipe(
    name="small",
    architecture="unet_3d",
    features=(16, 32, 64, 128),
    patch=(4, 128, 160),
    in_plane_mm=1.75,
    whole_voxels=True,
    window_hu=(-600.0, 250.0),
    loss="dice_cross_entropy",
    optimizer="adamw",
    epochs=60,
    fine_tune_epochs=15,
    iterations_per_epoch=50,
    batch_size=2,  # of a single patch, PyTorch convolves on a CPU in a way that takes seven times as long
    learning_rate=1.5e-2,
    fine_tune_lr=3e-3,
)
_QUICK_3D = replace(
    _SMALL_3D,
    name="quick",
    features=(4, 8, 8, 8),
    patch=(8, 64, 64),
    in_plane_mm=6.0,
    epochs=4,
    fine_tune_epochs=2,
    iterations_per_epoch=15,
    learning_rate=4e-3,
    fine_tune_lr=1e-3,
)
_BODY_COMPOSITION = {
    "3d": (_PAPER_3D, _SMALL_3D, _QUICK_3D),
    "2d": (
        replace(
            _PAPER_3D, architecture="unet_2d", features=(32, 64, 128, 256, 256), convolutions=(), patch=(1, 512, 512),
            batch_size=16,
        ),
        replace(
            _SMALL_3D, architecture="unet_2d", features=(16, 32, 64, 96, 96), patch=(1, 128, 160), batch_size=8,
            epochs=50, learning_rate=4e-3, fine_tune_lr=1e-3,
        ),
        replace(_QUICK_3D, architecture="unet_2d", features=(4, 8, 8, 8, 8), patch=(1, 64, 64), batch_size=8),
    ),
}  # fmt: skip

# Kim 2024, Pre-processing: grid, window, gamma, four patches of 96 voxels a side from each CT. Widths, Dice with
# cross-entropy and AdamW are not in it, but those of UNETR's own paper (Hatamizadeh 2021) and MONAI's defaults. The
# 20,000 batches of that paper take a GPU too long for five folds: a fifth of them here, at twice the rate.
# In answers for held-out phantoms, hardly anything in pieces of less than a fiftieth of a structure's largest is right.
_PAPER_UNETR = Recipe(
    name="paper",
    architecture="unetr",
    features=(16,),
    hidden_size=768,
    heads=12,
    patch=(96, 96, 96),
    in_plane_mm=1.5,
    slice_mm=2.0,
    window_hu=(THIGH_WINDOW.low, THIGH_WINDOW.high),
    gamma=2.0,
    step=0.875,
    least_part=0.02,
    loss="dice_cross_entropy",
    optimizer="adamw",
    epochs=40,
    fine_tune_epochs=8,
    iterations_per_epoch=100,
    batch_size=4,
    patches_per_volume=4,
    learning_rate=2e-4,
    fine_tune_lr=1e-4,
)
# For two cores. Labels of phantoms that are taken to a grid and back keep a mean Dice of 0.95 at 3 x 3 x 4 mm, and of
# 0.93 at 4 mm, where a patch shows both thighs. From one that shows a single thigh, lateral muscles are taken for
# medial ones. Half as many features, two patches of one CT in a batch, and lower rates learn less in the same time.
_SMALL_UNETR = replace(
    _PAPER_UNETR,
    name="small",
    hidden_size=192,
    heads=6,
    patch=(16, 112, 80),
    in_plane_mm=4.0,
    slice_mm=4.0,
    scaling=0.1,
    epochs=40,
    fine_tune_epochs=8,
    iterations_per_epoch=50,
    batch_size=2,
    patches_per_volume=1,
    learning_rate=6e-3,
    fine_tune_lr=1.5e-3,
)
_QUICK_UNETR = replace(
    _SMALL_UNETR,
    name="quick",
    features=(8,),
    hidden_size=24,
    heads=2,
    patch=(32, 32, 32),
    in_plane_mm=8.0,
    slice_mm=10.0,
    epochs=4,
    fine_tune_epochs=2,
    iterations_per_epoch=15,
    learning_rate=2e-3,
    fine_tune_lr=5e-4,
)


def _baseline(recipe: Recipe, features: tuple[int, ...]) -> Recipe:
    """The 3-D U-Net that is trained as a UNETR is."""
    return replace(recipe, architecture="unet_3d_deep", features=features, hidden_size=0, heads=0)


_THIGH_MUSCLES = {
    "unetr": (_PAPER_UNETR, _SMALL_UNETR, _QUICK_UNETR),
    "unet_3d": (
        _baseline(_PAPER_UNETR, (16, 32, 64, 128, 256)),
        _baseline(_SMALL_UNETR, (16, 32, 64, 128, 128)),
        _baseline(_QUICK_UNETR, (4, 8, 8, 8, 8)),
    ),
}

RECIPES: dict[str, Mapping[str, dict[str, Recipe]]] = {
    task: {network: {recipe.name: recipe for recipe in presets} for network, presets in networks.items()}
    for task, networks in (("body_composition", _BODY_COMPOSITION), ("thigh_muscles", _THIGH_MUSCLES))
}
"""Task to network to preset."""


def recipe_of(task: str, network: str, preset: str) -> Recipe:
    """The recipe of a preset.

    Raises:
        Refusal: there is no such network for the task.
    """
    networks = RECIPES[task]
    if network not in networks:
        raise Refusal(f"There is no network {network!r} for {task}; there are {', '.join(networks)}.")
    return networks[network][preset]
