"""What trained networks answer for a whole volume."""

from __future__ import annotations

import numpy as np

from lib.anatomy.schemas import LabelSchema
from lib.cold_start.answers import Answer
from lib.images import CTImage
from lib.infers.champions import Champion
from lib.infers.options import InferOptions
from lib.infers.slices import folds_of
from lib.refusals import Refusal


def answer_for_volume(image: CTImage, schema: LabelSchema, champion: Champion, options: InferOptions) -> Answer:
    """Label every voxel.

    Args:
        image: in canonical order.
        schema: of the task.
        champion: whose networks answer.
        options: what was asked for.

    Raises:
        Refusal: there is no body in the image, the fold is not there, or the networks know other classes.
    """
    folds = folds_of(options.fold, champion)
    found = champion.ensemble.segment(image.hu, image.spacing, folds)
    manifest = champion.version.manifest
    used = list(folds or champion.ensemble.folds)
    doubt = found.disagreement
    if champion.ensemble.classes != schema.ids:
        raise Refusal(f"The networks of {manifest.version} know other classes than {manifest.task} has.", status=503)
    kept = np.arange(256, dtype=np.uint8)
    kept[[schema.ids[name] for name in champion.unlearnt]] = 0  # what it was never shown, it can only have guessed
    return Answer(
        label=kept[found.label],
        method="ensemble" if len(used) > 1 else "single_fold",
        model_version=manifest.version,
        doubt=doubt.score,
        disagreement=doubt.to_json(),
        doubt_percent=doubt.map,
        entropies={"predictive_entropy": doubt.predictive_entropy, "bald": doubt.mutual_information},
        features=found.features,
        warnings=(*champion.warnings, *found.warnings),
        details={"fold": options.fold, "folds_used": used, "variant": manifest.variant},
    )
