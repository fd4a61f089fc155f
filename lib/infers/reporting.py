"""The report of a case: of its saved labels where there are any, else of what the program answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lib.anatomy.schemas import L3_MUSCLE, L3_SLICE, L3_TISSUE, SARCOPENIA, STORED_SCHEMAS
from lib.images import CTImage, PatientFacts, read_ct
from lib.images.files import read_volume
from lib.infers.options import InferOptions
from lib.infers.segmentation import Analysis, SegmentationTask
from lib.measures.drawn_slices import labelled_slices
from lib.measures.saved_label import measure_saved_label
from lib.refusals import BadImage, Refusal
from lib.reports.case_report import L3_CUTOFFS, CaseReport, Measured, Origin, agreement_text, case_report, check_cutoffs
from lib.stores import CaseStore
from lib.stores.records import Revision

_SAVED = (L3_MUSCLE.task, L3_TISSUE.task)
REPORTED: tuple[str, ...] = (SARCOPENIA.task, *_SAVED)
"""The tasks of which a report says something."""
_LEARNT_FROM_PHANTOMS = "The model that this label began with was trained on digital phantoms."


@dataclass(frozen=True, kw_only=True)
class ReportWishes:
    """What a report is to be of.

    Attributes:
        task: ``l3_muscle`` or ``l3_tissue`` for the saved label of that task, ``sarcopenia`` for what the program
            answers; "" for the saved labels, and the answer where there are none.
        who: who asks; the label that somebody is to read blindly a second time is not shown to them.
        cutoffs: names of those to judge by; none for all that were published for L3.
    """

    task: str = ""
    who: str = ""
    cutoffs: Sequence[str] = ()


def report_of_case(store: CaseStore, answering: SegmentationTask, name: str, wishes: ReportWishes) -> CaseReport:
    """The report of a case.

    Args:
        store: whose case it is.
        answering: the task ``sarcopenia``.
        name: the case's id, or its SeriesInstanceUID.
        wishes: what it is to be of.

    Raises:
        Refusal: the case, the task or a cut-off is unknown; there is no such label; or the image does not allow it.
    """
    cutoffs, task = check_cutoffs(wishes.cutoffs), wishes.task
    if task and task not in REPORTED:
        raise Refusal(f"There is no report of {task!r}; there are {', '.join(REPORTED)}.", status=404)
    case = store.case_id(name)
    labels = {each: store.current_revision(case, each) for each in _SAVED if task in ("", each)}
    seen = {
        each: revision
        for each, revision in labels.items()
        if revision is not None and not store.is_blind(each, case, wishes.who)
    }
    if seen:
        return report_of_labels(store, case, seen, cutoffs=cutoffs)
    if task in _SAVED:
        raise Refusal(f"{case} has no saved label of {task}.", status=404)
    try:
        image = read_ct(Path(store.get_image_uri(case)))
        analysis = answering.analyse(image, InferOptions(), known=store.case_facts(case))
    except BadImage as refusal:
        store.note_fault(case, str(refusal))  # so that it is not offered to annotators
        raise
    return report_of_answer(case, image, analysis, cutoffs=cutoffs)


def report_of_answer(
    case: str, image: CTImage, analysis: Analysis, *, cutoffs: Collection[str] = L3_CUTOFFS
) -> CaseReport:
    """The report of what the program answered.

    Args:
        case: its id.
        image: in the order of its file.
        analysis: of that image, by one of :data:`REPORTED`.
        cutoffs: names of those to judge by.

    Raises:
        Refusal: it is about no slice.
    """
    answer, params = analysis.answer, analysis.params
    if answer.slice_index is None or analysis.schema.task not in REPORTED:
        raise Refusal(f"Reports are made of {', '.join(REPORTED)} only.")
    measured = Measured(
        image=image.canonical(),
        label=answer.label,
        schema=analysis.schema,
        index=answer.slice_index,
        slice_number=params["slice_index"],
        composition=analysis.composition,
        judgement=analysis.judgement,
        facts=analysis.facts,
        level=answer.level or "",
        # the heights of the ends, which are not counted in slices of the file
        levels=answer.details.get("levels"),
    )
    origin = Origin(
        label="Answer of the program; nobody has looked at it.",
        model=f"Method: {answer.method}, {answer.model_version or 'no trained model'}",
        agreement=agreement_text(params["uncertainty"], answer.method),
        reviewed=False,
    )
    return case_report(case, measured, origin, warnings=params["warnings"], cutoffs=cutoffs)


def report_of_labels(
    store: CaseStore, case: str, revisions: Mapping[str, Revision], *, cutoffs: Collection[str] = L3_CUTOFFS
) -> CaseReport:
    """The report of what people saved.

    Args:
        store: whose case it is.
        case: its id.
        revisions: ``l3_muscle``, ``l3_tissue`` or both.
        cutoffs: names of those to judge by.

    Raises:
        Refusal: the image cannot be read, or is not the one that was labelled.
    """
    image = read_ct(Path(store.get_image_uri(case)))
    facts = image.facts.updated(store.case_facts(case))
    return _of_labels(case, image, facts, revisions, store=store, cutoffs=cutoffs)


def _of_labels(
    case: str,
    image: CTImage,
    facts: PatientFacts,
    revisions: Mapping[str, Revision],
    *,
    store: CaseStore,
    cutoffs: Collection[str],
) -> CaseReport:
    arrays = {task: _array(image, revision) for task, revision in revisions.items()}
    slices = {task: labelled_slices(image, array) for task, array in arrays.items()}
    warnings = [*image.warnings]
    main = L3_MUSCLE.task if L3_MUSCLE.task in arrays else L3_TISSUE.task
    marked = _marked_slice(image, store.current_revision(case, L3_SLICE.task)) if len(slices[main]) > 1 else None
    shared = [index for index in slices[main] if all(index in each for each in slices.values())]
    chosen = marked if marked in slices[main] else _most(image, arrays[main], among=shared or slices[main])
    if len(arrays) > 1 and chosen not in shared:
        warnings.append(
            f"The label of {L3_TISSUE.task} is on another slice and is left out; ask for it with task={L3_TISSUE.task}."
        )
        arrays = {main: arrays[main]}
    used = [revisions[task] for task in arrays]
    several = sorted({index for task in arrays for index in slices[task]})
    level = ""
    if len(several) > 1:
        which = "the one with most of it"
        if chosen == marked:
            which, level = "the one that is marked as that of L3", "L3, as somebody marked it"
        arrays = {task: _only_slice(image, array, chosen) for task, array in arrays.items()}
        warnings.append(f"{len(several)} slices ({several[0]} to {several[-1]}) are labelled; {which} is reported.")
    label, schema = next(iter(arrays.values())), STORED_SCHEMAS[next(iter(arrays))]
    if len(arrays) > 1:
        schema, label = SARCOPENIA, np.zeros(image.shape, np.uint8)
        for task in (L3_TISSUE.task, L3_MUSCLE.task):  # muscle is on top, as in an answer
            for structure in STORED_SCHEMAS[task]:
                if structure.name in schema:
                    label[arrays[task] == structure.id] = schema.ids[structure.name]
    found = measure_saved_label(image, label, schema, facts)
    if found is None or found.composition.slice_index is None:
        raise Refusal(f"Reports are made of {', '.join(REPORTED)} only.")
    number = found.composition.slice_index
    for revision in used:
        if revision.partial:
            warnings.append(f"The label of {revision.task} is partial: what was not drawn was not measured.")
        warnings += revision.warnings
        if revision.model and store.learnt_from_phantoms(revision.model, revision.model_version):
            warnings.append(_LEARNT_FROM_PHANTOMS)
    measured = Measured(
        image=image.canonical(),
        label=replace(image, hu=label.astype(np.int16)).canonical().hu,
        schema=schema,
        index=image.slice_from_canonical(number),
        slice_number=number,
        composition=found.composition,
        judgement=found.judgement,
        facts=facts,
        level=level,
    )
    warnings += found.judgement.warnings
    return case_report(case, measured, _origin(store, used), warnings=warnings, cutoffs=cutoffs)


def _origin(store: CaseStore, revisions: Sequence[Revision]) -> Origin:
    said = [
        f"{each.task} revision {each.number}, saved by {each.author or 'somebody who gave no name'} "
        f"on {each.created:%Y-%m-%d %H:%M} UTC"
        for each in revisions
    ]
    began = {
        f"{each.model} {each.model_version or 'without a trained model'}" if each.model else "" for each in revisions
    }
    model = ", ".join(sorted(filter(None, began)))
    scores = []
    for each in revisions:
        score = store.score_of(each.image_id, task=each.task, method="disagreement")
        if score is not None and score[1] is not None:
            scores.append(f"{each.task} {score[0]:.3f} ({score[1]})")
    known = (
        f"the folds' disagreement on this case (0: none, 1: full) was {', '.join(scores)}" if scores else "not known"
    )
    return Origin(
        label=f"Label of a person: {'; '.join(said)}.",
        model=f"Corrected from an answer of {model}" if model else "Drawn without a model, as far as the client said",
        agreement=f"{known}; it says nothing of a label that a person saved",
        reviewed=True,
    )


def _array(image: CTImage, revision: Revision) -> npt.NDArray[np.uint8]:
    array = read_volume(revision.path)[0]
    if array.shape != image.shape:
        raise Refusal(f"The label of {revision.task} has another shape than the image; nothing can be reported.")
    return array.astype(np.uint8)


def _marked_slice(image: CTImage, levels: Revision | None) -> int | None:
    """The slice that a label of ``l3_slice`` marks as that of L3, if it marks one and no more."""
    if levels is None:
        return None
    marked = labelled_slices(image, _array(image, levels) == L3_SLICE.ids["l3_slice"])
    return marked[0] if len(marked) == 1 else None


def _only_slice(image: CTImage, label: npt.NDArray[np.uint8], index: int | None) -> npt.NDArray[np.uint8]:
    """A label with nothing on the other slices."""
    place = (slice(None),) * image.foot_to_head_axis + (index,)
    kept = np.zeros_like(label)
    kept[place] = label[place]
    return kept


def _most(image: CTImage, label: npt.NDArray, *, among: Sequence[int]) -> int | None:
    """The slice with most of a label; ``None`` where there is no slice to choose from."""
    across = tuple(axis for axis in range(3) if axis != image.foot_to_head_axis)
    areas = np.count_nonzero(label, axis=across)
    return max(among, key=lambda index: areas[index], default=None)
