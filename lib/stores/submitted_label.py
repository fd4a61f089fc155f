"""Opening a label as a client sent it: its layers on the image's grid, and which value has which name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from pydicom.misc import is_dicom

from lib.anatomy.schemas import SCHEMAS, STORED_SCHEMAS
from lib.images.files import NRRD_SUFFIXES, image_suffix, read_volume
from lib.images.itk import ITK_ERRORS, affine_of
from lib.refusals import Refusal
from lib.stores.dicom_label import read_dicom_label
from lib.stores.geometry import Grid, onto_grid, resampled_onto_grid

_LARGEST_VALUE = 65535
_SLAB = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One named value of a submitted label.

    Attributes:
        name: as the client wrote it.
        layer: which of the layers holds it.
        value: its value there.
    """

    name: str
    layer: int
    value: int


@dataclass(frozen=True, kw_only=True)
class SubmittedLabel:
    """A label on its image's grid.

    Attributes:
        layers: ``uint8`` or ``uint16`` arrays ``(i, j, k)``; one, unless a layered ``.seg.nrrd`` or a DICOM
            segmentation brought more.
        counts: for every layer the number of voxels of each value.
        segments: the names, also of values without voxels.
    """

    layers: tuple[npt.NDArray[np.unsignedinteger], ...]
    counts: tuple[npt.NDArray[np.int64], ...]
    segments: tuple[Segment, ...]


def open_label(path: Path, *, grid: Grid, info: Mapping[str, Any]) -> SubmittedLabel:
    """Open a submitted label and find the names of its values.

    Args:
        path: ``.nii.gz``, ``.nii``, ``.nrrd``, or ``.seg.nrrd`` or a DICOM segmentation (whose own segments decide).
        grid: the grid of the image it belongs to.
        info: what came with it: ``label_info`` (Slicer), ``params.label_names`` (the server's own answers), or
            ``task`` or ``model``, whose schema's ids the values then are.

    Raises:
        Refusal: the file cannot be read, lies elsewhere than the image, holds values that are not whole numbers from 0
            up, is empty, or nothing says what its values mean.
    """
    if image_suffix(path.name) in NRRD_SUFFIXES and path.is_file() and path.stat().st_size:
        segmentation = _open_segmentation(path, grid=grid)
        if segmentation is not None:
            return segmentation
    if not image_suffix(path.name) and path.is_file() and is_dicom(path):
        return _open_dicom(path, grid=grid)
    array, affine, _ = read_volume(path)
    label = onto_grid(_whole_numbers(array), affine, grid)
    counts = count_values(label)
    if not counts[1:].any():
        raise Refusal("The label is empty: no voxel is marked.")
    segments = tuple(Segment(name=name, layer=0, value=value) for name, value in _names(info))
    return SubmittedLabel(layers=(label,), counts=(counts,), segments=segments)


def _open_dicom(path: Path, *, grid: Grid) -> SubmittedLabel:
    """A DICOM segmentation, with a layer for each task."""
    labels = read_dicom_label(path, grid=grid)
    counts = tuple(count_values(layer) for layer in labels.values())
    segments = [
        Segment(name=structure.name, layer=layer, value=structure.id)
        for layer, task in enumerate(labels)
        for structure in STORED_SCHEMAS[task]
    ]
    return SubmittedLabel(layers=tuple(labels.values()), counts=counts, segments=tuple(segments))


def _open_segmentation(path: Path, *, grid: Grid) -> SubmittedLabel | None:
    """Slicer's ``.seg.nrrd``, or ``None`` for an NRRD without segments in its header."""
    try:
        image = sitk.ReadImage(str(path))
    except ITK_ERRORS as error:
        raise Refusal(f"{path.name} cannot be read as NRRD; it is damaged or cut short.") from error
    header = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    numbers = sorted(int(m[1]) for key in header if (m := re.fullmatch(r"Segment(\d+)_Name", key)))
    if not numbers:
        return None
    if image.GetDimension() not in (2, 3):
        raise Refusal(f"The segmentation has {image.GetDimension()} axes; three were expected.")
    segments = []
    for number in numbers:
        layer, value = (_whole(header.get(f"Segment{number}_{key}", default)) for key, default in _SEGMENT_KEYS)
        segments.append(Segment(name=header[f"Segment{number}_Name"].strip(), layer=layer, value=value))
    if max(segment.layer for segment in segments) >= image.GetNumberOfComponentsPerPixel():
        raise Refusal("The segmentation names a layer that is not in the file.")
    layers = tuple(resampled_onto_grid(_whole_numbers(layer), affine_of(image), grid) for layer in _layers_of(image))
    counts = tuple(count_values(layer) for layer in layers)
    if not any(c[1:].any() for c in counts):
        raise Refusal("The label is empty: no voxel is marked, or all lie outside the image.")
    return SubmittedLabel(layers=layers, counts=counts, segments=tuple(segments))


_SEGMENT_KEYS = (("Layer", "0"), ("LabelValue", "1"))


def _layers_of(image: sitk.Image) -> list[npt.NDArray]:
    array = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() == 1:
        array = array[..., np.newaxis]
    layers = [array[..., n].transpose() for n in range(array.shape[-1])]
    return [layer if layer.ndim == 3 else layer[..., np.newaxis] for layer in layers]


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise Refusal(f"The segmentation's header holds {text!r} where a whole number belongs.") from error


def _whole_numbers(array: npt.NDArray) -> npt.NDArray[np.unsignedinteger]:
    if array.dtype.kind not in "iufb":
        raise Refusal(f"The label holds {array.dtype} voxels; a label holds whole numbers.")
    if array.dtype in (np.uint8, np.bool_):
        return np.asarray(array, dtype=np.uint8)
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise Refusal("The label holds NaN or infinite values.")
    if low < 0:
        raise Refusal(f"The label holds negative values (down to {low:g}).")
    if high > _LARGEST_VALUE:
        raise Refusal(f"The label holds the value {high:g}, which is no segment number.")
    whole: npt.NDArray[np.unsignedinteger] = array.astype(np.uint8 if high < 256 else np.uint16)
    if array.dtype.kind == "f" and not np.array_equal(whole, array):
        raise Refusal("The label holds fractional values; it was interpolated, or is a probability map.")
    return whole


def count_values(array: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.int64]:
    """Voxels of each value from 0 up, slab by slab because ``bincount`` makes eight bytes of every voxel."""
    flat = array.ravel(order="K")
    counts = np.zeros(int(flat.max(initial=0)) + 1, dtype=np.int64)
    for start in range(0, flat.size, _SLAB):
        counts += np.bincount(flat[start : start + _SLAB], minlength=len(counts))
    return counts


def _names(info: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Names and values as the client numbered them; value 0 is background whatever it is called."""
    params = info.get("params")
    listed = info.get("label_info") or info.get("label_names")
    if not listed and isinstance(params, Mapping):
        listed = params.get("label_names") or params.get("label_info")
    if listed:
        return [(name, value) for name, value in _listed(listed) if value != 0]
    for key in ("task", "model"):
        schema = SCHEMAS.get(str(info.get(key) or ""))
        if schema is not None:
            return list(schema.ids.items())
    raise Refusal(
        "Nothing says what the values of the label mean: send label_info, a list of {name, idx}, or the name of the "
        f"task in task or model ({', '.join(SCHEMAS)})."
    )


def _listed(listed: object) -> list[tuple[str, int]]:
    if isinstance(listed, Mapping):
        pairs = list(listed.items())
    elif isinstance(listed, list) and all(isinstance(entry, Mapping) and "name" in entry for entry in listed):
        pairs = [(entry["name"], entry.get("idx", entry.get("id"))) for entry in listed]
    else:
        raise Refusal("label_info has to be a list of {name, idx}.")
    named = []
    for name, value in pairs:
        try:
            named.append((str(name).strip(), int(value)))
        except (TypeError, ValueError) as error:
            raise Refusal(f"label_info gives {name!r} the number {value!r}; a whole number is needed.") from error
    return named
