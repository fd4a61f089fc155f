"""Where answers come from: a version, one of its folds, the cold start, or files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lib.anatomy.schemas import LabelSchema
from lib.evaluation.comparison import Labelled
from lib.images import CTImage
from lib.infers.champions import Champions
from lib.infers.options import FOLDS, InferOptions
from lib.infers.segmentation import SegmentationTask
from lib.models import Registry
from lib.models.manifest import Manifest
from lib.refusals import Refusal
from lib.tasks import TASKS
from scripts.command import Stop
from scripts.evaluation.cases import LabelledCase, drawn_slices, files_by_case, read_answer

COLD_START, CHAMPION, HELD_OUT = "cold-start", "champion", "held-out"
SYNTAX = (
    "VERSION, VERSION:FOLD (0 to 4), VERSION:best, VERSION:held-out (each case by the fold that never saw its "
    "patient), champion, cold-start, or NAME=FOLDER with files of labels"
)


class Source(Protocol):
    """Answers cases."""

    @property
    def name(self) -> str:
        """As it stands in the tables."""

    def answer(self, case: LabelledCase, image: CTImage, slice_index: int | None) -> Labelled:
        """The answer to a case, in the order of the image.

        Args:
            case: which.
            image: of the case.
            slice_index: the slice to answer on, along the image's own axis; ``None`` to search, and for volumes.

        Raises:
            Refusal: there is none; the sentence says why.
        """

    def warnings(self, cases: Sequence[LabelledCase]) -> list[str]:
        """What a reader of figures on these cases has to know."""


class FileSource:
    """Labels that somebody or something else has made.

    Args:
        name: of the source.
        files: of each case.
        schema: what the values mean.
    """

    def __init__(self, name: str, files: Mapping[str, Path], schema: LabelSchema) -> None:
        self.name = name
        self._files, self._schema = files, schema

    def answer(self, case: LabelledCase, image: CTImage, slice_index: int | None) -> Labelled:
        """The file of a case; of several slices the one that is asked for, else the one nearest to it."""
        path = self._files.get(case.name)
        if path is None:
            raise Refusal("There is no file of this case.")
        label = read_answer(path, image, self._schema)
        if slice_index is None:
            return Labelled(label=label)
        drawn = drawn_slices(image, label)
        # Where nothing was found, nothing was found on the slice in question.
        nearest = min(drawn, key=lambda index: abs(index - slice_index), default=slice_index)
        return Labelled(label=label, slice_index=nearest)

    def warnings(self, cases: Sequence[LabelledCase]) -> list[str]:
        """Files that belong to no case."""
        spare = set(self._files) - {case.name for case in cases}
        return [f"{self.name}: {len(spare)} files belong to no labelled case and were not used."] if spare else []


class ModelSource:
    """A version, one fold of it, or the cold start, as the server would answer.

    Args:
        name: of the source.
        task: with its models.
        manifest: of the version; ``None`` for the cold start.
        fold: one of :data:`lib.infers.options.FOLDS`, or :data:`HELD_OUT`.
        own_slice: whether it searches for its own slice instead of taking the one that is asked for.
    """

    def __init__(
        self,
        name: str,
        task: SegmentationTask,
        *,
        manifest: Manifest | None = None,
        fold: str = "ensemble",
        own_slice: bool = False,
    ) -> None:
        self.name = name
        self._task, self._manifest = task, manifest
        self._fold, self._own_slice = fold, own_slice

    def answer(self, case: LabelledCase, image: CTImage, slice_index: int | None) -> Labelled:
        """What the server would answer."""
        if case.image is None:
            raise Refusal("There is no image of this case for a model to answer.")
        options = InferOptions(fold=self._fold_for(case), slice_index=None if self._own_slice else slice_index)
        analysis = self._task.analyse(image, options, known=case.facts)
        index = analysis.params["slice_index"] if self._task.task.on_slice else None
        return Labelled(label=np.asarray(analysis.label, np.uint8), slice_index=index)

    def warnings(self, cases: Sequence[LabelledCase]) -> list[str]:
        """Phantoms, and patients it was trained on."""
        manifest = self._manifest
        if manifest is None:
            return []
        said = []
        if manifest.phantoms in ("all", "some"):
            what = "only" if manifest.phantoms == "all" else "too"
            said.append(f"{self.name} was trained on digital phantoms {what}.")
        if manifest.imported:
            said.append(f"{self.name} was trained elsewhere, perhaps on these very patients.")
        seen = sum(case.patient in manifest.patients for case in cases)
        if seen and self._fold != HELD_OUT:
            said.append(
                f"{self.name} was trained on the patients of {seen} of the {len(cases)} cases, so its figures are too "
                f"good: {manifest.version}:{HELD_OUT} answers each by the fold that never saw the patient."
            )
        return said

    def _fold_for(self, case: LabelledCase) -> str:
        if self._fold != HELD_OUT:
            return self._fold
        assert self._manifest is not None
        fold = self._manifest.patients.get(case.patient)
        return "ensemble" if fold is None else str(fold)


@dataclass(frozen=True, kw_only=True)
class Models:
    """What models answer a task with.

    Attributes:
        task: a stored task.
        registry: where they are.
        cache: folder for what engines compile.
        own_slice: whether they search for their own slice.
    """

    task: str
    registry: Registry
    cache: Path | None = None
    own_slice: bool = False

    def open(self, text: str) -> ModelSource:
        """A source as :data:`SYNTAX` has it.

        Raises:
            Stop: there is none such.
            Refusal: the version cannot be used.
        """
        version, _, fold = text.partition(":")
        fold = fold or "ensemble"
        if fold not in (*FOLDS, HELD_OUT) or (version == COLD_START and version != text):
            raise Stop(f"{text!r} names no source; one is {SYNTAX}.")
        if version == COLD_START:
            if TASKS[self.task].cold_start is None:
                raise Stop(f"{self.task} has no cold start.")
            return ModelSource(text, self._answering(dict.fromkeys(TASKS)), own_slice=self.own_slice)
        if version == CHAMPION:
            version = self._champion()
        opened = self.registry.version(self.task, version)
        if fold.isdecimal() and int(fold) not in opened.fold_numbers:
            there = ", ".join(map(str, opened.fold_numbers))
            raise Stop(f"{version} of {self.task} has no fold {fold}; it has: {there}.")
        return ModelSource(
            version if fold == "ensemble" else f"{version}:{fold}",
            self._answering({self.task: version}),
            manifest=opened.manifest,
            fold=fold,
            own_slice=self.own_slice,
        )

    def _answering(self, versions: dict[str, str | None]) -> SegmentationTask:
        return SegmentationTask(TASKS[self.task], Champions(self.registry, self.cache, versions=versions))

    def _champion(self) -> str:
        champion = self.registry.champion(self.task)
        if champion is None:
            there = ", ".join(self.registry.versions(self.task)) or "no versions"
            raise Stop(f"{self.task} has no champion yet; there are: {there}.")
        return champion.name


def open_sources(texts: Sequence[str], models: Models, schema: LabelSchema) -> list[Source]:
    """The sources that a user named; the same one twice is one.

    Args:
        texts: see :data:`SYNTAX`.
        models: for those that are models.
        schema: of the task.

    Raises:
        Stop: one of them is none; the sentence says what would be.
        Refusal: a version cannot be used.
    """
    found: dict[str, Source] = {}
    for text in texts:
        source = _files(text, schema) if "=" in text else models.open(text)
        found.setdefault(source.name, source)
    return list(found.values())


def _files(text: str, schema: LabelSchema) -> Source:
    name, _, folder = text.partition("=")
    if not name or not folder:
        raise Stop(f"{text!r} names no source; one is {SYNTAX}.")
    return FileSource(name, files_by_case(Path(folder).expanduser(), "label"), schema)
