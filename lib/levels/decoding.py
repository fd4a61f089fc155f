"""From what the networks say of every row to a numbered spine: the probability of every numbering, and the likeliest.

A spine is a chain of segments from foot to head, each from its inferior endplate to that of the vertebra above it. A
semi-Markov chain over such segments weighs all numberings at once, so that what does not fit is not only less likely
but known to be: where the view cannot settle the numbering, two of them keep their share.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from lib.levels.targets import IDENTITIES
from lib.levels.views import STEP_MM

Floats = npt.NDArray[np.float64]

_STATES = IDENTITIES[::-1]
_WITHOUT_ENDPLATE = ("below", "S1", "above")
"""What begins at no inferior endplate that is learnt."""
_VERTEBRA_MM = (12.0, 60.0)
# Rows of one vertebra say much the same: all of them together count as about three.
_ROW_WEIGHT = 0.2
_LEAST_PROBABILITY = 1e-3
_STRONGEST_BOUNDARY = 3.0
# Four or six lumbar vertebrae are rare, so their number needs evidence.
_OTHER_COUNT = float(np.log(0.03))
_NEVER = -np.inf


@dataclass(frozen=True, kw_only=True)
class Numbering:
    """A numbered spine.

    Attributes:
        path: the likeliest numbering from foot to head: level, first row, one past its last row. The first row is its
            inferior endplate, unless it is 0: then that end is out of view.
        endplate: (n,) for each level: the probability that its inferior endplate is in this row; their sum is the
            probability that it is in the image.
    """

    path: tuple[tuple[str, int, int], ...]
    endplate: dict[str, Floats]


def number_rows(identity: npt.NDArray, endplate: npt.NDArray) -> Numbering:
    """Weigh all numberings.

    Args:
        identity: (21, n) probabilities of :data:`lib.levels.targets.IDENTITIES` in every row.
        endplate: (n,) probability of an inferior endplate.
    """
    weight = _ROW_WEIGHT * np.log(np.maximum(identity[::-1], _LEAST_PROBABILITY))
    known = np.clip(endplate, 1e-6, 1 - 1e-6)
    odds = np.clip(np.log(known / (1 - known)), -_STRONGEST_BOUNDARY, _STRONGEST_BOUNDARY)
    chain = _Chain(weight, odds)
    return Numbering(path=chain.likeliest(), endplate=chain.endplates())


class _Chain:
    """All chains of segments over n rows. Boundary a lies before row a; there are n + 1.

    Args:
        weight: (states, n) log weight of a row if it belongs to a state, states from foot to head.
        odds: (n,) log weight of an endplate at the boundary before a row.
    """

    def __init__(self, weight: Floats, odds: Floats) -> None:
        count, self._rows = weight.shape
        upto = np.concatenate([np.zeros((count, 1)), weight.cumsum(axis=1)], axis=1)
        self._upto = upto
        a, b = np.ogrid[: self._rows + 1, : self._rows + 1]
        shortest, longest = (mm / STEP_MM for mm in _VERTEBRA_MM)
        some = b > a
        cut_off = (a == 0) | (b == self._rows)
        vertebra = some & (b - a <= longest) & ((b - a >= shortest) | cut_off)
        self._allowed = {name: some if name in ("above", "below") else vertebra for name in _STATES}
        at_boundary = np.append(odds, 0.0)
        self._enter = np.array([0.0 * at_boundary if name in _WITHOUT_ENDPLATE else at_boundary for name in _STATES])
        self._follow = _transitions()

    def _segment(self, state: int) -> Floats:
        """(n + 1, n + 1) log weight of a segment from one boundary to another."""
        upto = self._upto[state]
        return np.where(self._allowed[_STATES[state]], upto[None, :] - upto[:, None], _NEVER)  # type: ignore[no-any-return]

    def _forward(self, total: Callable[..., Floats]) -> tuple[Floats, Floats]:
        """(states, n + 1) log weight of all chains, or the best, that enter a state at a boundary, and leave it."""
        entered = np.full_like(self._enter, _NEVER)
        left = np.full_like(self._enter, _NEVER)
        for state in range(len(_STATES)):
            before = total(left[:state] + self._follow[:state, state, None], axis=0) if state else _NEVER
            entered[state] = self._enter[state] + before
            entered[state, 0] = 0.0  # what is cut off by the edge of the image may be anything
            left[state] = total(entered[state][:, None] + self._segment(state), axis=0)
        return entered, left

    def endplates(self) -> dict[str, Floats]:
        """See :attr:`Numbering.endplate`."""
        entered, left = self._forward(_sum)
        onward = np.full_like(entered, _NEVER)
        for state in reversed(range(len(_STATES))):
            rest = np.full(self._rows + 1, _NEVER)
            if state + 1 < len(_STATES):
                follow = self._follow[state, state + 1 :, None]
                rest = _sum(follow + self._enter[state + 1 :] + onward[state + 1 :], axis=0)
            rest[-1] = 0.0
            onward[state] = _sum(self._segment(state) + rest, axis=1)
        all_chains = _sum(left[:, -1], axis=0)
        probability = np.exp(entered + onward - all_chains)
        probability[:, 0] = 0.0  # entered at the edge: its endplate is out of view
        return {name: probability[state, :-1] for state, name in enumerate(_STATES) if name not in _WITHOUT_ENDPLATE}

    def likeliest(self) -> tuple[tuple[str, int, int], ...]:
        """See :attr:`Numbering.path`."""
        entered, left = self._forward(np.max)
        state, end = int(left[:, -1].argmax()), self._rows
        path = []
        while True:
            start = int((entered[state] + self._segment(state)[:, end]).argmax())
            path.append((_STATES[state], start, end))
            if start == 0:
                return tuple(path[::-1])
            state = int((left[:state, start] + self._follow[:state, state]).argmax())
            end = start


def _sum(values: Floats, axis: int) -> Floats:
    with np.errstate(divide="ignore"):  # nothing allowed has the weight 0
        return logsumexp(values, axis=axis)  # type: ignore[no-any-return]


def _transitions() -> Floats:
    """(states, states) log weight of the second right above the first."""
    follow = np.full((len(_STATES), len(_STATES)), _NEVER)
    for lower, upper in itertools.pairwise(_STATES):
        follow[_STATES.index(lower), _STATES.index(upper)] = 0.0
    sacrum = _STATES.index("S1")
    for name, weight in (("L6", _OTHER_COUNT), ("L5", 0.0), ("L4", _OTHER_COUNT)):
        follow[sacrum, _STATES.index(name)] = weight
    return follow
