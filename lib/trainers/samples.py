"""What a version is trained on: the labelled slices or CTs of a task, from every current label in the store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.anatomy.schemas import LabelSchema
from lib.cold_start.levels import shows_a_spine
from lib.images import CTImage, read_ct
from lib.images.files import is_marked_phantom, read_volume
from lib.levels.dataset import LabelledCT
from lib.models import FoldBook, Manifest, TrainingLabel
from lib.networks.labels import UNJUDGED
from lib.networks.nnunet.dataset import LoadedSlice, Slice
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.records import Revision
from lib.tasks import Task
from lib.volumes.dataset import LabelledVolume


@dataclass(frozen=True)
class TrainingSet:
    """What a version is trained on.

    Attributes:
        parts: each label, for the manifest, with what is learnt from it.
    """

    parts: tuple[tuple[TrainingLabel, tuple[Any, ...]], ...]

    @property
    def labels(self) -> tuple[TrainingLabel, ...]:
        """All labels."""
        return tuple(label for label, _ in self.parts)

    @property
    def samples(self) -> tuple[Any, ...]:
        """Those of all labels, each with ``key``, ``patient`` and ``fold``."""
        return tuple(each for _, samples in self.parts for each in samples)

    def only(self, keys: Collection[str]) -> TrainingSet:
        """Those labels whose samples are among the keys."""
        return TrainingSet(tuple(part for part in self.parts if all(each.key in keys for each in part[1])))


def check_labels(
    store: CaseStore, schema: LabelSchema, *, folds: int, every_class: bool = True, contrast: bool | None = None
) -> None:
    """Refuse what cannot be trained on, without reading an image.

    Args:
        store: where the labels are.
        schema: of the task.
        folds: number of folds.
        every_class: whether each class must be drawn somewhere.
        contrast: whether CTs that are known to be with, or without, contrast agent are trained on; ``None`` for all.

    Raises:
        Refusal: there is no label of the task, nobody has drawn one of its classes, or there are fewer patients than
            folds.
    """
    revisions = store.current_labels(schema.task)
    if not revisions:
        raise Refusal(f"There is no saved label of {schema.task} yet: save some, then train.")
    revisions = _chosen(store, revisions, contrast=contrast)
    if not revisions:
        raise Refusal(
            f"No saved label of {schema.task} is of a CT that is known to be {'with' if contrast else 'without'} "
            "contrast agent: enter contrast in the facts of the cases, or train on all."
        )
    drawn = {name for revision in revisions for name in revision.names}
    missing = [name for name in schema.names if name not in drawn]
    if missing and every_class:
        raise Refusal(
            f"No saved label of {schema.task} shows {' or '.join(missing)}: draw it in some cases, then train."
        )
    patients = {store.patient(revision.image_id) for revision in revisions}
    if len(patients) < folds:
        raise Refusal(
            f"{folds} folds need labels of as many patients, and those of {schema.task} are of {len(patients)}: "
            "save labels of more patients, then train."
        )


def fold_book(store: CaseStore, task: str) -> FoldBook:
    """Where the fold of each patient of a task stands."""
    return FoldBook(store.own_folder / "folds" / f"{task}.json")


def fold_count(store: CaseStore, task: Task, asked: int, champion: Manifest | None = None) -> int:
    """How many folds are trained: as many as there have been from the first training on, else those asked for.

    Args:
        store: knows the folds of the patients.
        task: the row of the task table, which says how many are usual.
        asked: 0 for as many as there are, or are usual.
        champion: of an earlier training here, for a store whose book of folds was lost.

    Raises:
        Refusal: the patients are in another number of folds already.
    """
    decided = fold_book(store, task.name).count or (champion.folds if champion else 0)
    if asked and decided and asked != decided:
        raise Refusal(
            f"The patients of {task.name} are in {decided} folds for ever, not in {asked}: leave folds out, or a "
            "network would be judged on patients that an earlier one was trained on."
        )
    return asked or decided or task.folds


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One label, and what a training makes of it.

    Attributes:
        revision: of the label.
        image: its image.
        schema: of the task.
        patient: whose image it is.
        fold: the fold that validates on the patient.
        learnt: the structures that patients of two folds or more have in their labels, so that every fold can learn
            them.
    """

    revision: Revision
    image: Path
    schema: LabelSchema
    patient: str
    fold: int
    learnt: frozenset[str]


Samples = Callable[[Lesson], Iterable[Any]]
"""What is learnt from one label."""


def training_set(
    store: CaseStore,
    schema: LabelSchema,
    samples: Samples,
    *,
    folds: int,
    known: Mapping[str, int],
    contrast: bool | None = None,
) -> TrainingSet:
    """Every current label of a task as it is now, with the fold of its patient.

    Args:
        store: where the labels are; see :func:`check_labels`.
        schema: of the task.
        samples: of one label.
        folds: number of folds.
        known: folds of patients that were decided before, from the champion's manifest.
        contrast: see :func:`check_labels`.

    Raises:
        Refusal: a label or its image cannot be read.
    """
    revisions = _chosen(store, store.current_labels(schema.task), contrast=contrast)
    patients = {revision.image_id: store.patient(revision.image_id) for revision in revisions}
    fold = fold_book(store, schema.task).assign(patients.values(), folds, known=known)
    learnt = _learnt(revisions, {revision.image_id: fold[patients[revision.image_id]] for revision in revisions})
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
        lesson = Lesson(
            revision=revision, image=image, schema=schema, patient=patient, fold=fold[patient], learnt=learnt
        )
        parts.append((label, tuple(samples(lesson))))
    return TrainingSet(tuple(parts))


def _learnt(revisions: Sequence[Revision], folds: Mapping[str, int]) -> frozenset[str]:
    """Of all drawn structures those that patients of two folds have; ``folds`` are those of the cases."""
    found: dict[str, set[int]] = {}
    for revision in revisions:
        for name in revision.names:
            found.setdefault(name, set()).add(folds[revision.image_id])
    return frozenset(name for name, of in found.items() if len(of) > 1)


def _chosen(store: CaseStore, revisions: Sequence[Revision], *, contrast: bool | None) -> list[Revision]:
    """Those of CTs with, or without, contrast agent, as far as that is known."""
    if contrast is None:
        return list(revisions)
    return [each for each in revisions if store.case_facts(each.image_id).contrast is contrast]


def labelled_slices(lesson: Lesson) -> Iterator[Slice]:
    """The slices of a label in which something is drawn, in canonical order, read when they are asked for."""
    revision, image = lesson.revision, lesson.image
    array, affine, _ = read_volume(revision.path)
    drawn = np.flatnonzero(_canonical(array, affine).any(axis=(0, 1)))
    key = _key(revision, image)
    for index in drawn:
        yield Slice(
            key=f"{key}/{index}",
            patient=lesson.patient,
            fold=lesson.fold,
            load=_Loader(image, revision, lesson.schema, int(index)),
        )


def labelled_spine(lesson: Lesson) -> Iterator[LabelledCT]:
    """A CT with a label of vertebrae, read when it is asked for; a few slices show no spine to learn from."""
    revision, image = lesson.revision, lesson.image
    array, affine, _ = read_volume(revision.path)
    upright = CTImage(hu=array, affine=affine).canonical()
    if shows_a_spine(upright):
        yield LabelledCT(
            key=_key(revision, image),
            patient=lesson.patient,
            fold=lesson.fold,
            load=partial(_read_labelled, image, revision),
        )


def labelled_volume(lesson: Lesson) -> Iterator[LabelledVolume]:
    """A CT with a label, read when it is asked for.

    Where only some slices were labelled, nobody judged the others; where only some classes were, what is none of them.
    Classes that cannot be learnt from these labels are none of them either: they count as what is around all classes,
    and a label that shows all others is a whole one.
    Structures that end within the body are an exception: of a label that its annotator calls complete, the slices
    before the first and after the last one that shows any of them are known to hold none.
    """
    revision, schema = lesson.revision, lesson.schema
    ends_known = schema.bounded and revision.info.get("complete") is True
    partly = revision.partial and not lesson.learnt <= set(revision.names)
    unlearnt = tuple(value for name, value in schema.ids.items() if name not in lesson.learnt)
    judged = "ends" if ends_known else "partial" if partly else "whole"
    yield LabelledVolume(
        key="/".join([_key(revision, lesson.image), judged, *(f"without-{value}" for value in unlearnt)]),
        patient=lesson.patient,
        fold=lesson.fold,
        load=partial(_read_judged, lesson.image, revision, partly=partly, ends_known=ends_known, unlearnt=unlearnt),
    )


def _read_judged(
    image: Path, revision: Revision, *, partly: bool, ends_known: bool, unlearnt: tuple[int, ...]
) -> tuple[CTImage, npt.NDArray[np.uint8]]:
    ct, label = _read_labelled(image, revision)
    drawn = (label != 0).any(axis=(0, 1))
    if partly:
        label[label == 0] = UNJUDGED
    label[np.isin(label, unlearnt)] = 0
    empty = np.flatnonzero(~drawn)
    if ends_known:
        first, last = np.flatnonzero(drawn)[[0, -1]]
        empty = empty[(empty > first) & (empty < last)]
    label[:, :, empty] = UNJUDGED
    return ct, label


def _key(revision: Revision, image: Path) -> str:
    """Another one as soon as image or label is another one."""
    status = image.stat()
    return f"{revision.image_id}/{status.st_size}/{status.st_mtime_ns}/{revision.sha256}"


def _read_labelled(image: Path, revision: Revision) -> tuple[CTImage, npt.NDArray]:
    """A CT and its label, both in canonical order."""
    ct = read_ct(image).canonical()
    array, affine, _ = read_volume(revision.path)
    label = np.ascontiguousarray(_canonical(array, affine), np.uint8)
    if label.shape != ct.shape:
        raise Refusal(f"The label of {revision.image_id} has another shape than its image.")
    return ct, label


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
