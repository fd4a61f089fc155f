"""Whether what was just trained may answer from now on: the champion is judged anew on the same held-out samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lib.anatomy.schemas import SCHEMAS
from lib.models import Registry
from lib.models.verdict import Tolerances, Verdict, compare
from lib.refusals import Refusal
from lib.trainers.learners import Learner


def judge(
    registry: Registry,
    task: str,
    learner: Learner,
    metrics: Mapping[str, Any],
    samples: Sequence[Any],
    *,
    tolerances: Tolerances,
    engine: str = "auto",
    variant: str = "",
) -> Verdict:
    """Compare a training with the champion of the task.

    Labels change and patients come, so what the champion's manifest says of it is no measure. Its fold k never saw the
    patients whom fold k validates on, since a patient keeps the fold for ever; nor did it see those who came later.
    Where there is no champion yet and the cold start does the same job, the cold start is judged in its place.

    Args:
        registry: where the champion is, and the workspace with the samples of the training.
        task: what was trained.
        learner: how.
        metrics: its cross-validation.
        samples: that it was trained on.
        tolerances: by how much it may be worse.
        engine: one of :data:`lib.networks.engines.ENGINES`, for the champion.
        variant: of the task.

    Returns:
        The verdict. A champion that cannot be opened or judged stands in nobody's way.
    """
    new, patients = learner.scores(metrics), {each.key: each.patient for each in samples}
    try:
        champion = registry.champion(task, variant)
        if champion is not None:
            before = learner.judge(
                champion,
                registry.workspace(task, variant),
                samples,
                SCHEMAS[task].ids,
                engine=engine,
                cache=registry.compiled,
            )
        elif learner.without_model is not None:
            before = learner.without_model(registry.workspace(task, variant), samples)
            new = {key: {name: new[key][name] for name in scores} for key, scores in before.items()}
        else:
            return Verdict(promote=True, reason="Promoted: there was no champion before it.")
    except Refusal as refusal:
        return Verdict(promote=True, reason=f"Promoted, since the champion before it could not be judged: {refusal}")
    return compare(
        new,
        before,
        patients,
        name=champion.name if champion else "the cold start",
        tolerances=tolerances,
        imported=champion.manifest.imported if champion else False,
        measure=learner.measure,
    )
