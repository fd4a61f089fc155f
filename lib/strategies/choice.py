"""Which case to label next, from scores and features alone; the queue and the active-learning study choose by it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist, pdist

from lib.stores.queue_rules import RANDOM_SHARE

AMONG = 50
ALIKE_QUANTILE = 0.1


@dataclass(frozen=True, kw_only=True)
class Picked:
    """A choice.

    Attributes:
        index: which of the cases; ``None`` for a plain random one, which the caller draws from all that it has.
        why: in words that end a sentence on the score, or are one themselves where ``index`` is ``None``.
    """

    index: int | None
    why: str


def pick(
    scores: npt.NDArray[np.floating],
    features: npt.NDArray[np.floating] | None,
    recent: npt.NDArray[np.floating] | None,
    *,
    rng: np.random.Generator,
    random_share: float = RANDOM_SHARE,
    among: int = AMONG,
    alike_quantile: float = ALIKE_QUANTILE,
) -> Picked:
    """Pick the highest score, but not a case that is nearly alike to a recent one, and now and then any case.

    A case is nearly alike to another when it is no farther from it, in the features, than a low quantile of the
    distances between the candidates. When all candidates are, the one farthest from the recent cases is taken.

    Args:
        scores: ``(n,)``, high where a label is wanted; NaN where there is none.
        features: ``(n, d)`` of one model version; rows of NaN where there are none: such a case is alike to no other.
        recent: ``(m, d)``, those of the cases that were picked last.
        rng: decides what is left to chance.
        random_share: the share from 0 to 1 of plain random cases.
        among: how many of the highest scores are candidates.
        alike_quantile: of the distances between candidates, from 0 to 1.
    """
    scored = np.flatnonzero(np.isfinite(scores))
    if not scored.size:
        return Picked(index=None, why="No case has a score yet, so this is a random one.")
    if rng.random() < random_share:
        return Picked(index=None, why=f"A plain random case, as {random_share:.0%} are, so that nothing is overlooked.")
    best = scored[np.argsort(-np.asarray(scores)[scored], kind="stable")][:among]
    of_all = f"most of {len(best)} candidates" if len(best) > 1 else "the only candidate"
    if len(best) == 1 or features is None or recent is None or not len(recent):
        return Picked(index=int(best[0]), why=of_all)
    distances = cdist(features[best], recent).min(axis=1)
    unlike = ~(distances <= _nearly_alike(features[best], alike_quantile))
    last = f"the last {len(recent)} cases" if len(recent) > 1 else "the last case"
    if not unlike.any():
        return Picked(index=int(best[np.argmax(distances)]), why=f"least alike to {last} of {len(best)} candidates")
    first = int(np.argmax(unlike))
    passed = f", but for {first} nearly alike to {last}" if first else ""
    return Picked(index=int(best[first]), why=f"{of_all}{passed}")


def _nearly_alike(features: npt.NDArray[np.floating], quantile: float) -> float:
    """The distance up to which two cases are nearly alike; 0 where there is nothing to compare."""
    known = features[~np.isnan(features).any(axis=1)]
    if len(known) < 2:
        return 0.0
    return float(np.quantile(pdist(known), quantile))
