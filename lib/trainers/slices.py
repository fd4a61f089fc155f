"""The labelled slices of a task, from every current label in the store."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lib.anatomy.schemas import LabelSchema
from lib.images import CTImage, read_ct
from lib.images.files import is_marked_phantom, read_volume
from lib.models import FoldBook, TrainingLabel
from lib.networks.nnunet.dataset import UNJUDGED, LoadedSlice, Slice
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.records import Revision


@dataclass(frozen=True)
class TrainingSet:
    """What a version of a slice model is trained on.

    Attributes:
        parts: each label, for the manifest, with its labelled slices.
    """

    parts: tuple[tuple[TrainingLabel, tuple[Slice, ...]], ...]

    @property
    def labels(self) -> tuple[TrainingLabel, ...]:
        """All labels."""
        return tuple(label for label, _ in self.parts)

    @property
    def slices(self) -> tuple[Slice, ...]:
        """The slices of all labels."""
        return tuple(each for _, slices in self.parts for each in slices)

    def only(self, keys: Collection[str]) -> TrainingSet:
        """Those labels whose slices are among the keys."""
        return TrainingSet(tuple(part for part in self.parts if all(each.key in keys for each in part[1])))


def check_labels(store: CaseStore, schema: LabelSchema, *, folds: int) -> None:
    """Refuse what cannot be trained on, without reading an image.

    Raises:
        Refusal: there is no label of the task, nobody has drawn one of its classes, or there are fewer patients than
            folds.
    """
    revisions = store.current_labels(schema.task)
    if not revisions:
        raise Refusal(f"There is no saved label of {schema.task} yet: save some, then train.")
    drawn = {name for revision in revisions for name in revision.names}
    missing = [name for name in schema.names if name not in drawn]
    if missing:
        raise Refusal(
            f"No saved label of {schema.task} shows {' or '.join(missing)}: draw it in some cases, then train."
        )
    patients = {store.patient(revision.image_id) for revision in revisions}
    if len(patients) < folds:
        raise Refusal(
            f"{folds} folds need labels of as many patients, and those of {schema.task} are of {len(patients)}: "
            "save labels of more patients, then train."
        )


def training_set(store: CaseStore, schema: LabelSchema, *, folds: int, known: Mapping[str, int]) -> TrainingSet:
    """Every current label of a task as it is now, with the fold of its patient.

    Args:
        store: where the labels are.
        schema: of the task.
        folds: number of folds.
        known: folds of patients that were decided before, from the champion's manifest.

    Raises:
        Refusal: see :func:`check_labels`; a label or its image cannot be read.
    """
    check_labels(store, schema, folds=folds)
    revisions = store.current_labels(schema.task)
    patients = {revision.image_id: store.patient(revision.image_id) for revision in revisions}
    book = FoldBook(store.own_folder / "folds" / f"{schema.task}.json")
    fold = book.assign(patients.values(), folds, known=known)
    parts = []
    for revision in revisions:
        patient, image = patients[revision.image_id], Path(store.get_image_uri(revision.image_id))
        label = TrainingLabel(
            case=revision.image_id,
            revision=revision.number,
            sha256=revision.sha256,
            patient=patient,
            fold=fold[patient],
            phantom=bool(store.case_facts(revision.image_id).phantom) or is_marked_phantom(image),
        )
        parts.append((label, tuple(_slices(revision, image, schema, patient=patient, fold=fold[patient]))))
    return TrainingSet(tuple(parts))


def _slices(revision: Revision, image: Path, schema: LabelSchema, *, patient: str, fold: int) -> Iterator[Slice]:
    """The slices of a label in which something is drawn, in canonical order, read when they are asked for."""
    array, affine, _ = read_volume(revision.path)
    drawn = np.flatnonzero(_canonical(array, affine).any(axis=(0, 1)))
    status = image.stat()
    for index in drawn:
        yield Slice(
            key=f"{revision.image_id}/{status.st_size}/{status.st_mtime_ns}/{revision.sha256}/{index}",
            patient=patient,
            fold=fold,
            load=_Loader(image, revision, schema, int(index)),
        )


@dataclass(frozen=True)
class _Loader:
    """Reads one labelled slice."""

    image: Path
    revision: Revision
    schema: LabelSchema
    index: int

    def __call__(self) -> LoadedSlice:
        """HU, spacing in mm and label of the slice."""
        image = read_ct(self.image).canonical()
        array, affine, _ = read_volume(self.revision.path)
        label = np.ascontiguousarray(_canonical(array, affine)[:, :, self.index], np.uint8)
        if label.shape != image.shape[:2]:
            raise Refusal(f"The label of {self.revision.image_id} has another shape than its image.")
        if self.revision.partial:
            # what was drawn is right; what was not may be any of the other classes
            label[label == 0] = UNJUDGED
        hu = np.ascontiguousarray(np.rint(image.hu[:, :, self.index]), np.int16)
        return hu, (float(image.spacing[0]), float(image.spacing[1])), label


def _canonical(array: npt.NDArray, affine: npt.NDArray[np.float64]) -> npt.NDArray:
    return CTImage(hu=array, affine=affine).canonical().hu
