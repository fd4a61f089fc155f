"""What trained ensembles answer on the L3 slice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lib.anatomy.schemas import LabelSchema
from lib.cold_start.answers import Answer, ChosenSlice, FindLevels, choose_slice
from lib.cold_start.outline import CUT_OFF, body_mask, is_cut_off, without_arms
from lib.images import CTImage
from lib.infers.champions import Champion
from lib.infers.options import InferOptions
from lib.measures.disagreement import disagreement
from lib.refusals import Refusal
from lib.tasks import TASKS


def answer_in_parts(
    image: CTImage,
    schema: LabelSchema,
    parts: Mapping[str, Champion | None],
    options: InferOptions,
    find: FindLevels,
) -> Answer:
    """Segment one slice by the models of several tasks, and by the cold start of those that have none.

    Args:
        image: in canonical order.
        schema: of the answer; classes of the parts that it has not are left out.
        parts: task to its champion, in the order in which they are painted.
        options: what was asked for; ``slice_index`` in canonical order.
        find: searches L3.

    Raises:
        Refusal: the slice or the fold is not there, or L3 is not found.
    """
    chosen = choose_slice(image, options.slice_index, find)
    label = np.zeros(image.shape, np.uint8, order="F")
    answers: dict[str, Answer] = {}
    for name, champion in parts.items():
        task = TASKS[name]
        answer = (
            task.answer_on(image, chosen)
            if champion is None
            else answer_by_ensemble(image, task.schema, champion, options, chosen)
        )
        for structure in task.schema:
            if structure.name in schema:
                drawn = answer.label[:, :, chosen.index] == structure.id
                label[:, :, chosen.index][drawn] = schema.ids[structure.name]
        answers[name] = answer
    methods = {answer.method for answer in answers.values()}
    versions = [f"{name} {each.model_version}" for name, each in answers.items() if each.model_version]
    maps = [each.doubt_percent for each in answers.values() if each.doubt_percent is not None]
    doubts = None
    if maps:
        doubts = np.zeros(image.shape, np.uint8, order="F")
        doubts[:, :, chosen.index] = np.maximum.reduce([each[:, :, chosen.index] for each in maps])
    made = {name: {"method": each.method, "model_version": each.model_version} for name, each in answers.items()}
    return Answer(
        label=label,
        method=methods.pop() if len(methods) == 1 else "mixed",
        model_version=", ".join(versions) or None,
        slice_index=chosen.index,
        level=chosen.level,
        doubt=max(chosen.doubt, *(each.doubt for each in answers.values())),
        disagreement={"parts": {name: dict(each.disagreement) for name, each in answers.items()}},
        doubt_percent=doubts,
        warnings=tuple(dict.fromkeys([*chosen.warnings, *(w for each in answers.values() for w in each.warnings)])),
        details={**chosen.details, "parts": made},
    )


def answer_by_ensemble(
    image: CTImage,
    schema: LabelSchema,
    champion: Champion,
    options: InferOptions,
    chosen: ChosenSlice,
) -> Answer:
    """Segment one slice.

    Args:
        image: in canonical order.
        schema: of the task.
        champion: whose networks answer.
        options: what was asked for.
        chosen: the slice.

    Raises:
        Refusal: the fold is not there.
    """
    from lib.networks.nnunet.ensemble import label_of  # noqa: PLC0415 - takes seconds, and cold starts need none of it

    hu = np.ascontiguousarray(image.hu[:, :, chosen.index])
    spacing = (float(image.spacing[0]), float(image.spacing[1]))
    folds = folds_of(options.fold, champion)
    prediction = champion.ensemble.describe(hu, spacing, folds=folds, mirroring=options.mirroring)
    probabilities = prediction.probabilities
    classes = champion.version.manifest.classes
    found = label_of(probabilities)
    # an imported model may number the classes in its own way, and know more of them
    ids = np.zeros(probabilities.shape[1], np.uint8)
    for name, value in classes.items():
        ids[value] = schema.ids[name]
    label = np.zeros(image.shape, np.uint8, order="F")
    label[:, :, chosen.index] = ids[found]
    body = body_mask(CTImage(hu=hu[:, :, None], affine=np.diag([*spacing, 1.0, 1.0])))[:, :, 0]
    cut_off = is_cut_off(hu, without_arms(body, spacing), spacing)
    doubt = disagreement(probabilities, hu, spacing, classes, body)
    doubts = np.zeros(image.shape, np.uint8, order="F")
    doubts[:, :, chosen.index] = np.rint(100 * doubt.map)
    manifest = champion.version.manifest
    details: dict[str, Any] = {
        **chosen.details,
        "fold": options.fold,
        "folds_used": list(folds or champion.ensemble.folds),
    }
    return Answer(
        label=label,
        method="ensemble" if len(probabilities) > 1 else "single_fold",
        model_version=manifest.version,
        slice_index=chosen.index,
        level=chosen.level,
        doubt=max(doubt.score, chosen.doubt),
        disagreement=doubt.to_json(),
        doubt_percent=doubts,
        entropies={"predictive_entropy": doubt.predictive_entropy, "bald": doubt.mutual_information},
        features=prediction.features,
        warnings=(*champion.warnings, *chosen.warnings, *([CUT_OFF] if cut_off else ())),
        details=details,
    )


def folds_of(wanted: str, champion: Champion) -> list[int] | None:
    """The folds to use, ``None`` for all.

    Args:
        wanted: ``ensemble``, ``best``, or a number.
        champion: whose folds they are.

    Raises:
        Refusal: which fold is the best is not known.
    """
    if wanted == "ensemble":
        return None
    if wanted != "best":
        return [int(wanted)]
    best = champion.version.manifest.metrics.get("best_fold")
    if not isinstance(best, int):
        raise Refusal("Which fold of this model is the best is not known; name one of them, or take the ensemble.")
    return [best]
