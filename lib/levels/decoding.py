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
from numpy.lib.stride_tricks import sliding_window_view

from lib.levels.targets import IDENTITIES
from lib.levels.views import STEP_MM

Floats = npt.NDArray[np.float64]
_sum: Callable[..., Floats] = np.logaddexp.reduce

_STATES = IDENTITIES[::-1]
_WITHOUT_ENDPLATE = ("below", "S1", "above")
"""What begins at no inferior endplate that is learnt."""
_ENDLESS = ("below", "above")
_SHORTEST, _LONGEST = round(12.0 / STEP_MM), round(60.0 / STEP_MM)
"""Rows of a vertebra with its disc."""
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
        self._upto = np.concatenate([np.zeros((count, 1)), weight.cumsum(axis=1)], axis=1)
        at_boundary = np.append(odds, 0.0)
        self._enter = np.array([0.0 * at_boundary if name in _WITHOUT_ENDPLATE else at_boundary for name in _STATES])
        self._follow = _transitions()

    def _leave(self, state: int, entered: Floats, total: Callable[..., Floats]) -> Floats:
        """(n + 1,) log weight of leaving a state at a boundary, from that of entering it at one."""
        upto = self._upto[state]
        return upto + _within_reach(entered - upto, total, endless=_STATES[state] in _ENDLESS)

    def _forward(self, total: Callable[..., Floats]) -> tuple[Floats, Floats]:
        """(states, n + 1) log weight of all chains, or the best, that enter a state at a boundary, and leave it."""
        entered = np.full_like(self._enter, _NEVER)
        left = np.full_like(self._enter, _NEVER)
        for state in range(len(_STATES)):
            before = total(left[:state] + self._follow[:state, state, None], axis=0) if state else _NEVER
            entered[state] = self._enter[state] + before
            entered[state, 0] = 0.0  # what is cut off by the edge of the image may be anything
            left[state] = self._leave(state, entered[state], total)
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
            upto = self._upto[state]
            back = _within_reach((rest + upto)[::-1], _sum, endless=_STATES[state] in _ENDLESS)
            onward[state] = back[::-1] - upto
        all_chains = _sum(left[:, -1], axis=0)
        probability = np.exp(entered + onward - all_chains)
        probability[:, 0] = 0.0  # entered at the edge: its endplate is out of view
        return {name: probability[state, :-1] for state, name in enumerate(_STATES) if name not in _WITHOUT_ENDPLATE}

    def _from(self, state: int, entered: Floats, end: int) -> Floats:
        """(n + 1,) log weight of a segment of a state that ends at a boundary, from every other."""
        start = np.arange(self._rows + 1)
        allowed = start < end
        if _STATES[state] not in _ENDLESS:
            whole = (end - start >= _SHORTEST) | (start == 0) | (end == self._rows)
            allowed &= whole & (end - start <= _LONGEST)
        return np.where(allowed, entered + self._upto[state][end] - self._upto[state], _NEVER)  # type: ignore[no-any-return]

    def likeliest(self) -> tuple[tuple[str, int, int], ...]:
        """See :attr:`Numbering.path`."""
        entered, left = self._forward(np.max)
        state, end = int(left[:, -1].argmax()), self._rows
        path = []
        while True:
            start = int(np.argmax(self._from(state, entered[state], end)))
            path.append((_STATES[state], start, end))
            if start == 0:
                return tuple(path[::-1])
            state = int((left[:state, start] + self._follow[:state, state]).argmax())
            end = start


def _within_reach(weight: Floats, total: Callable[..., Floats], *, endless: bool) -> Floats:
    """(n + 1,) for every boundary: the total of the weights of those below it at which a segment to it may begin.

    A vertebra is neither shorter nor longer than one can be, unless the edge of the image cuts it off.
    """
    last = len(weight) - 1
    if endless:
        reached = _RUNNING[total](weight)
        return np.concatenate([[_NEVER], reached[:-1]])
    padded = np.concatenate([np.full(_LONGEST, _NEVER), weight])
    windows = sliding_window_view(padded, _LONGEST - _SHORTEST + 1)[: last + 1]
    reached = total(windows, axis=1)
    for boundary in range(1, min(_SHORTEST, last)):  # cut off at its lower end
        reached[boundary] = weight[0]
    reached[last] = total(weight[max(0, last - _LONGEST) : last], axis=0)  # and at its upper end
    return reached


_RUNNING: dict[Callable[..., Floats], Callable[..., Floats]] = {
    _sum: np.logaddexp.accumulate,
    np.max: np.maximum.accumulate,
}


def _transitions() -> Floats:
    """(states, states) log weight of the second right above the first."""
    follow = np.full((len(_STATES), len(_STATES)), _NEVER)
    for lower, upper in itertools.pairwise(_STATES):
        follow[_STATES.index(lower), _STATES.index(upper)] = 0.0
    sacrum = _STATES.index("S1")
    for name, weight in (("L6", _OTHER_COUNT), ("L5", 0.0), ("L4", _OTHER_COUNT)):
        follow[sacrum, _STATES.index(name)] = weight
    return follow
