"""Labelled CTs on disk, on the network's grid and as they came, made once for all trainings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lib.disk import write_json
from lib.images import CTImage
from lib.networks.labels import UNJUDGED
from lib.refusals import Refusal
from lib.volumes.grid import Grid, outline
from lib.volumes.recipes import Recipe

LoadedVolume = tuple[CTImage, npt.NDArray[np.uint8]]
_FACTS = "sample.json"


@dataclass(frozen=True, kw_only=True)
class LabelledVolume:
    """One labelled CT.

    Attributes:
        key: another one as soon as image or label is another one.
        patient: whose CT it is.
        fold: the fold that validates on this patient.
        load: gives the CT and its label, both in canonical order. The label holds the values of the classes, 0 for none
            of them and :data:`lib.networks.labels.UNJUDGED`.
    """

    key: str
    patient: str
    fold: int
    load: Callable[[], LoadedVolume]


@dataclass(frozen=True, kw_only=True)
class KeptVolume:
    """What is kept of a labelled CT, cropped to the body; read from the disk where it is looked at.

    Attributes:
        image: (z, x, y) int16, HU on the grid.
        label: (z, x, y) uint8, on the grid.
        counts: (z, 1 + classes), voxels of each value on every slice of the grid, those that nobody judged left out.
        hu: (x, y, z) int16, as it came.
        truth: (x, y, z) uint8, its label.
        spacing: of these two, mm.
    """

    image: npt.NDArray[np.int16]
    label: npt.NDArray[np.uint8]
    counts: npt.NDArray[np.int64]
    hu: npt.NDArray[np.int16]
    truth: npt.NDArray[np.uint8]
    spacing: npt.NDArray[np.float64]


def keep_volume(folder: Path, volume: LabelledVolume, recipe: Recipe, classes: Mapping[str, int]) -> None:
    """Write what is kept of a labelled CT; the folder is there as a whole or not at all.

    Args:
        folder: of this CT.
        volume: the CT and its label.
        recipe: says which grid.
        classes: name to value.

    Raises:
        Refusal: the label does not fit the image, or holds a value that is no class.
    """
    image, label = volume.load()
    if label.shape != image.shape:
        raise Refusal(f"Image {image.shape} and label {label.shape} of {volume.key} do not fit: save the label again.")
    if wrong := set(np.unique(label).tolist()) - {0, UNJUDGED} - set(classes.values()):
        raise Refusal(f"The label of {volume.key} holds the value {min(wrong)}, which is no class of this task.")
    body = outline(image.hu, image.spacing)
    grid = Grid.of(body, image.spacing, recipe)
    drawn = ((label != 0) & (label != UNJUDGED)).any(axis=(0, 1))
    # On a slice that somebody labelled, what is beyond the body is known, even if only some classes were drawn.
    label = np.where(~body & drawn, 0, label).astype(np.uint8)
    coarse = grid.label(label)
    counts = np.stack([np.bincount(plane.ravel(), minlength=256) for plane in coarse])[:, : 1 + max(classes.values())]
    arrays: dict[str, npt.NDArray] = {"image": grid.image(image.hu), "label": coarse, "counts": counts}
    if not grid.is_the_images:
        arrays |= {"hu": np.rint(image.hu[grid.inside]).astype(np.int16), "truth": label[grid.inside]}
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(part / f"{name}.npy", array)
    write_json(part / _FACTS, {"spacing": image.spacing.tolist()})
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)


def read_volume(folder: Path) -> KeptVolume:
    """What :func:`keep_volume` wrote; arrays stay on the disk until they are looked at."""
    arrays = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
    if "hu" not in arrays:
        arrays |= {"hu": arrays["image"].transpose(1, 2, 0), "truth": arrays["label"].transpose(1, 2, 0)}
    spacing = np.array(json.loads((folder / _FACTS).read_text())["spacing"], float)
    return KeptVolume(**arrays, spacing=spacing)


def is_readable(folder: Path) -> bool:
    """Whether a folder holds a labelled CT as a whole."""
    try:
        read_volume(folder)
    except (OSError, KeyError, ValueError, TypeError, EOFError):
        return False
    return True
