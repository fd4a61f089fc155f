"""Answering every case from every source, one case in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from lib.anatomy.schemas import L3_SLICE, LabelSchema
from lib.cold_start.answers import LevelNotFoundError
from lib.cold_start.levels import shows_a_spine
from lib.evaluation.comparison import CaseComparison, Labelled, compare
from lib.evaluation.level_errors import LevelError
from lib.images import CTImage
from lib.refusals import Refusal
from lib.tasks import TASKS
from scripts.evaluation.cases import LabelledCase, Reference, drawn_slices, read_reference
from scripts.evaluation.sources import Source


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A case without an answer, or that could not be compared.

    Attributes:
        case: its name.
        source: which gave none; "" where the case itself could not be read.
        reason: a sentence.
    """

    case: str
    source: str
    reason: str


@dataclass(kw_only=True)
class Results:
    """What an evaluation found.

    Attributes:
        comparisons: by source, of every case that it answered.
        levels: by source, how far off its slice was.
        skipped: the others.
        read: the cases that could be read, under the names that they have in the tables.
    """

    comparisons: dict[str, list[CaseComparison]] = field(default_factory=dict)
    levels: dict[str, list[LevelError]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    read: dict[str, LabelledCase] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How cases are compared.

    Attributes:
        schema: of a stored task.
        sources: where answers come from.
        own_slice: whether models search for the slice of L3.
    """

    schema: LabelSchema
    sources: Sequence[Source]
    own_slice: bool = False

    def run(self, cases: Iterable[LabelledCase]) -> Results:
        """Compare every case; one that cannot be is kept with its reason."""
        results = Results(
            comparisons={source.name: [] for source in self.sources},
            levels={source.name: [] for source in self.sources},
        )
        for case in cases:
            try:
                reference = read_reference(case, self.schema)
                places = self._places(reference)
            except Refusal as refusal:
                results.skipped.append(Skipped(case=case.name, source="", reason=str(refusal)))
                continue
            for index in places:
                name = f"{case.name}, slice {index}" if len(places) > 1 else case.name
                facts = reference.image.facts.updated(case.facts)
                results.read[name] = replace(case, facts=facts)
                for source in self.sources:
                    self._answer(source, case, name, _with_slice(reference, index), results)
        return results

    def _places(self, reference: Reference) -> list[int | None]:
        """The slices on which a label is compared; one ``None`` where the volume is."""
        if self.schema is L3_SLICE:
            return [l3_slice_of(reference.image, reference.label)]
        if TASKS[self.schema.task].dimension == 2:
            drawn = drawn_slices(reference.image, reference.label)
            if self.own_slice and len(drawn) > 1:
                raise Refusal("A label on several slices does not tell which of them is that of L3.")
            return list(drawn)
        return [None]

    def _answer(self, source: Source, case: LabelledCase, name: str, reference: Reference, results: Results) -> None:
        try:
            found = source.answer(case, reference.image, None if self.schema is L3_SLICE else reference.slice_index)
            index = found.slice_index
            if self.schema is L3_SLICE and index is None:
                index = l3_slice_of(reference.image, found.label)
        except Refusal as refusal:
            if isinstance(refusal, LevelNotFoundError):
                results.levels[source.name].append(LevelError(case=name, source=source.name, distance_mm=None))
            results.skipped.append(Skipped(case=name, source=source.name, reason=str(refusal)))
            return
        off_mm = None
        if reference.slice_index is not None and index is not None:
            image = reference.image
            off_mm = abs(index - reference.slice_index) * float(image.spacing[image.foot_to_head_axis])
            if reference.image.shape[image.foot_to_head_axis] > 1:
                results.levels[source.name].append(LevelError(case=name, source=source.name, distance_mm=off_mm))
        if self.schema is not L3_SLICE:
            results.comparisons[source.name].append(
                CaseComparison(
                    case=name,
                    source=source.name,
                    structures=compare(
                        reference.image,
                        Labelled(label=reference.label, slice_index=reference.slice_index),
                        found,
                        self.schema,
                        judged=case.drawn or self.schema.names,
                        attenuation=reference.has_hu,
                    ),
                    off_mm=off_mm,
                )
            )


def _with_slice(reference: Reference, index: int | None) -> Reference:
    return replace(reference, slice_index=index)


def l3_slice_of(image: CTImage, label: npt.NDArray) -> int:
    """The slice that a label of ``l3_slice`` means, along the image's own foot-to-head axis.

    It is the marked slice, or else that of the inferior endplate of the vertebra marked as L3.

    Raises:
        Refusal: it tells neither.
    """
    axis = image.foot_to_head_axis
    marked = np.flatnonzero((label == L3_SLICE.ids["l3_slice"]).any(axis=tuple(a for a in range(3) if a != axis)))
    if marked.size:
        return int(np.median(marked))
    if (label == L3_SLICE.ids["vertebra_L3"]).any():
        from lib.levels.judging import l3_mm  # noqa: PLC0415 - PyTorch takes seconds
        from lib.levels.targets import targets_of  # noqa: PLC0415
        from lib.levels.views import views_of  # noqa: PLC0415

        upright = image.canonical()
        if shows_a_spine(upright):
            views = views_of(upright)
            own = replace(image, hu=np.asarray(label, np.int16)).canonical().hu
            height = l3_mm(targets_of(upright, own, views.course), views.z_mm)
            if height is not None:
                index = int(np.clip(round(height / float(upright.spacing[2])), 0, upright.shape[2] - 1))
                return image.slice_from_canonical(index)
    raise Refusal("The label does not tell the slice of L3: neither the slice nor the vertebra L3 is marked in it.")
