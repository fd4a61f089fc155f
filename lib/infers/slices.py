"""What a trained ensemble answers on the L3 slice."""

from __future__ import annotations

from typing import Any

import numpy as np

from lib.anatomy.schemas import LabelSchema
from lib.cold_start.answers import Answer, choose_slice
from lib.cold_start.outline import body_mask
from lib.images import CTImage
from lib.infers.champions import Champion
from lib.infers.options import InferOptions
from lib.measures.disagreement import disagreement
from lib.refusals import Refusal

_OF_PHANTOMS = {
    "all": "The model was trained on digital phantoms only: its answers are not for patients.",
    "some": "The model was trained on digital phantoms too.",
}


def answer_by_ensemble(image: CTImage, schema: LabelSchema, champion: Champion, options: InferOptions) -> Answer:
    """Segment the L3 slice, or the one that was chosen by hand.

    Args:
        image: in canonical order.
        schema: of the task.
        champion: whose networks answer.
        options: what was asked for; ``slice_index`` in canonical order.

    Raises:
        Refusal: the slice or the fold is not there, or L3 is not found.
    """
    from lib.networks.nnunet.ensemble import label_of  # noqa: PLC0415 - takes seconds, and cold starts need none of it

    chosen = choose_slice(image, options.slice_index)
    hu = np.ascontiguousarray(image.hu[:, :, chosen.index])
    spacing = (float(image.spacing[0]), float(image.spacing[1]))
    folds = _folds(options.fold, champion)
    prediction = champion.ensemble.describe(hu, spacing, folds=folds, mirroring=options.mirroring)
    probabilities = prediction.probabilities
    classes = champion.version.manifest.classes
    found = label_of(probabilities)
    # an imported model may number the classes in its own way, and know more of them
    ids = np.zeros(probabilities.shape[1], np.uint8)
    for name, value in classes.items():
        ids[value] = schema.ids[name]
    label = np.zeros(image.shape, np.uint8)
    label[:, :, chosen.index] = ids[found]
    body = body_mask(CTImage(hu=hu[:, :, None], affine=np.diag([*spacing, 1.0, 1.0])))[:, :, 0]
    doubt = disagreement(probabilities, hu, spacing, classes, body)
    doubts = np.zeros(image.shape, np.uint8)
    doubts[:, :, chosen.index] = np.rint(100 * doubt.map)
    manifest = champion.version.manifest
    warnings = [_OF_PHANTOMS[manifest.phantoms]] if manifest.phantoms in _OF_PHANTOMS else []
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
        warnings=(*warnings, *chosen.warnings),
        details=details,
    )


def _folds(wanted: str, champion: Champion) -> list[int] | None:
    """The folds to use, ``None`` for all."""
    if wanted == "ensemble":
        return None
    if wanted != "best":
        return [int(wanted)]
    best = champion.version.manifest.metrics.get("best_fold")
    if not isinstance(best, int):
        raise Refusal("Which fold of this model is the best is not known; name one of them, or take the ensemble.")
    return [best]
