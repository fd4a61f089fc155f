"""The labelled cases that an evaluation is about: those of a store, or files in a folder."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lib.anatomy.schemas import L3_SLICE, LabelSchema
from lib.images import CTImage, PatientFacts, read_ct
from lib.images.files import image_suffix, read_volume
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.folder import OWN_FOLDER
from lib.stores.geometry import Grid, onto_grid
from lib.stores.records import Revision
from scripts.command import Stop

_ENDING = re.compile(r"-(image|label)$")


@dataclass(frozen=True, kw_only=True)
class LabelledCase:
    """A case with a label.

    Attributes:
        name: of the case.
        label: the file of the label.
        image: the CT; ``None`` where only labels were given: then there are no HU, and no model can answer.
        drawn: the classes that the label judges, ``None`` for all; others are not judged in a partial label.
        facts: what is known of the patient.
        patient: whose it is.
        scan_range: whether the image reaches up to T12, "" where that is not known.
    """

    name: str
    label: Path
    image: Path | None
    drawn: tuple[str, ...] | None = None
    facts: PatientFacts = field(default_factory=PatientFacts)
    patient: str = ""
    scan_range: str = ""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A case in memory.

    Attributes:
        image: the CT; without one, the geometry of the label with nothing in it.
        label: in the order of the image.
        has_hu: whether the image is a CT.
        slice_index: the slice that is compared, along the image's own axis; ``None`` for the volume.
    """

    image: CTImage
    label: npt.NDArray[np.uint8]
    has_hu: bool
    slice_index: int | None = None


def is_store(folder: Path) -> bool:
    """Whether a folder is a studies folder with a store in it."""
    return (folder / OWN_FOLDER).is_dir()


def cases_of_store(store: CaseStore, task: str) -> list[LabelledCase]:
    """The newest final label of every case of a task.

    Raises:
        Refusal: an image is gone.
    """
    return [case_of(store, revision) for revision in store.current_labels(task)]


def case_of(store: CaseStore, revision: Revision) -> LabelledCase:
    """A revision with its image and what is known of the patient."""
    return LabelledCase(
        name=revision.image_id,
        label=revision.path,
        image=Path(store.get_image_uri(revision.image_id)),
        drawn=revision.names if revision.partial else None,
        facts=store.case_facts(revision.image_id),
        patient=store.patient(revision.image_id),
        scan_range=scan_range_of(store.current_revision(revision.image_id, L3_SLICE.task)),
    )


def scan_range_of(levels: Revision | None) -> str:
    """Whether a CT reaches up to T12 (Lee 2021, section 2.6), from the vertebrae that somebody marked in it.

    It does not where the highest marked vertebra is a lumbar one with less than its own height of image above it;
    with more, vertebrae may be in view that nobody marked, and nothing is said.

    Args:
        levels: the label of ``l3_slice``, if there is one.
    """
    marked = [name for name in levels.names if name.startswith("vertebra_")] if levels else []
    if levels is None or not marked:
        return ""
    if any(name.startswith("vertebra_T") for name in marked):
        return "T12 or above"
    label, affine, _ = read_volume(levels.path)
    upright = CTImage(hu=label.astype(np.int16), affine=affine).canonical().hu
    vertebrae = np.isin(upright, [L3_SLICE.ids[name] for name in marked])
    top = int(np.flatnonzero(vertebrae.any(axis=(0, 1)))[-1])
    height = int((upright == np.max(upright[:, :, top] * vertebrae[:, :, top])).any(axis=(0, 1)).sum())
    return "below T12" if upright.shape[2] - 1 - top < height else ""


def cases_of_folder(labels: Path, images: Path | None) -> list[LabelledCase]:
    """Files of labels with the images of the same name; ``-image`` and ``-label`` at its end do not count (Yu 2026).

    Raises:
        Stop: two files have the same name.
    """
    found = files_by_case(labels, "label")
    pictures = files_by_case(images, "image") if images else {}
    return [LabelledCase(name=name, label=path, image=pictures.get(name), patient=name) for name, path in found.items()]


def files_by_case(folder: Path, kind: str) -> dict[str, Path]:
    """The images or labels in a folder by the name of their case, in its order.

    Args:
        folder: with NIfTI and NRRD files; folders of DICOM count as images.
        kind: ``image`` or ``label``; files that are named as the other one are left out.

    Raises:
        Stop: there is no such folder, or two files are of the same case.
    """
    if not folder.is_dir():
        raise Stop(f"There is no folder {folder}.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        suffix = image_suffix(path.name)
        if not suffix and not (kind == "image" and path.is_dir() and path.name != OWN_FOLDER):
            continue
        stem = path.name[: len(path.name) - len(suffix)]
        ending = _ENDING.search(stem)
        if ending and ending[1] != kind:
            continue
        name = _ENDING.sub("", stem)
        if name in found:
            raise Stop(f"{found[name].name} and {path.name} in {folder} are of the same case {name}: remove one.")
        found[name] = path
    return found


def read_reference(case: LabelledCase, schema: LabelSchema) -> Reference:
    """Read a case.

    Raises:
        Refusal: image or label cannot be read, do not belong together, or the label is none of the schema.
    """
    array, affine, _ = read_volume(case.label)
    if case.image is None:
        label = _checked(array, schema, case.label.name)
        return Reference(image=CTImage(hu=label, affine=affine), label=label, has_hu=False)  # type: ignore[arg-type]
    image = read_ct(case.image)
    label = _checked(onto_grid(array, affine, _grid(image)), schema, case.label.name)
    return Reference(image=image, label=label, has_hu=True)


def read_answer(path: Path, image: CTImage, schema: LabelSchema) -> npt.NDArray[np.uint8]:
    """Read a label from elsewhere, in the order of an image.

    Raises:
        Refusal: it cannot be read, lies elsewhere than the image, or is none of the schema.
    """
    array, affine, _ = read_volume(path)
    return _checked(onto_grid(array, affine, _grid(image)), schema, path.name, may_be_empty=True)


def drawn_slices(image: CTImage, label: npt.NDArray) -> list[int]:
    """The slices along an image's foot-to-head axis on which a label has something."""
    axes = tuple(axis for axis in range(3) if axis != image.foot_to_head_axis)
    return [int(index) for index in np.flatnonzero(label.any(axis=axes))]


def _grid(image: CTImage) -> Grid:
    return Grid(shape=image.shape, affine=image.affine, file_shape=image.file_shape)


def _checked(
    array: npt.NDArray, schema: LabelSchema, name: str, *, may_be_empty: bool = False
) -> npt.NDArray[np.uint8]:
    """The label as the schema has it.

    Raises:
        Refusal: a value is none of the schema's, or nothing is drawn.
    """
    values = np.unique(array)
    wrong = [value for value in values if not 0 <= value <= len(schema) or value != np.floor(value)]
    if wrong:
        known = ", ".join(f"{number} {each}" for each, number in schema.ids.items())
        raise Refusal(f"{name} holds the value {wrong[0]:g}; the values of {schema.task} are 0 background, {known}.")
    if not may_be_empty and not values.any():
        raise Refusal(f"{name} is empty: nothing is drawn in it.")
    return np.asarray(array, np.uint8)
