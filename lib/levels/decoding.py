"""From what the networks say of every row to a numbered spine: the probability of every numbering, and the likeliest.

A spine is a chain of segments from foot to head, each from its inferior endplate to that of the vertebra above it. A
semi-Markov chain over such segments weighs all numberings at once, so that what does not fit is not only less likely
but known to be: where the view cannot settle the numbering, two of them keep their share.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from lib.levels.targets import IDENTITIES
from lib.levels.views import STEP_MM

Floats = npt.NDArray[np.float64]

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
    chains = _Chains(identity[None], endplate[None])
    return Numbering(path=chains.likeliest(), endplate={name: rows[0] for name, rows in chains.endplates().items()})


def endplates_of_each(identity: npt.NDArray, endplate: npt.NDArray) -> dict[str, Floats]:
    """:attr:`Numbering.endplate` of several spines of the same length at once.

    Args:
        identity: (spines, 21, n) as :func:`number_rows` takes it.
        endplate: (spines, n) as it takes it.

    Returns:
        (spines, n) for each level.
    """
    return _Chains(identity, endplate).endplates()


class _Chains:
    """All chains of segments over the n rows of some spines. Boundary a lies before row a; there are n + 1.

    Args:
        identity: (spines, 21, n) probabilities.
        endplate: (spines, n) probability of an inferior endplate.
    """

    def __init__(self, identity: npt.NDArray, endplate: npt.NDArray) -> None:
        weight = _ROW_WEIGHT * np.log(np.maximum(identity[:, ::-1], _LEAST_PROBABILITY))
        known = np.clip(endplate, 1e-6, 1 - 1e-6)
        odds = np.clip(np.log(known / (1 - known)), -_STRONGEST_BOUNDARY, _STRONGEST_BOUNDARY)
        self._rows = weight.shape[2]
        self._upto = np.pad(weight.cumsum(axis=2), ((0, 0), (0, 0), (1, 0)))
        at_boundary = np.pad(odds, ((0, 0), (0, 1)))
        self._enter = np.stack([at_boundary * (name not in _WITHOUT_ENDPLATE) for name in _STATES], axis=1)
        self._follow = _transitions()

    def _forward(self, total: _Total) -> tuple[Floats, Floats]:
        """(spines, states, n + 1) log weight of all chains, or the best, up to where a state is entered, and left."""
        entered, left = np.full(self._enter.shape, _NEVER), np.full(self._enter.shape, _NEVER)
        for state, name in enumerate(_STATES):
            below = np.flatnonzero(self._follow[:, state] > _NEVER)
            if len(below):
                follow = self._follow[below, state, None]
                entered[:, state] = self._enter[:, state] + total.over(left[:, below] + follow, axis=1)
            entered[:, state, 0] = 0.0  # what is cut off by the edge of the image may be anything
            upto = self._upto[:, state]
            left[:, state] = upto + _within_reach(entered[:, state] - upto, total, endless=name in _ENDLESS)
        return entered, left

    def endplates(self) -> dict[str, Floats]:
        """(spines, n) for each level, see :attr:`Numbering.endplate`."""
        entered, left = self._forward(_SUM)
        onward = np.full_like(entered, _NEVER)
        for state, name in reversed(list(enumerate(_STATES))):
            rest = np.full_like(entered[:, 0], _NEVER)
            above = np.flatnonzero(self._follow[state] > _NEVER)
            if len(above):
                follow = self._follow[state, above, None]
                rest = _SUM.over(follow + self._enter[:, above] + onward[:, above], axis=1)
            rest[:, -1] = 0.0
            upto = self._upto[:, state]
            back = _within_reach((rest + upto)[:, ::-1], _SUM, endless=name in _ENDLESS)
            onward[:, state] = back[:, ::-1] - upto
        all_chains = _SUM.over(left[:, :, -1], axis=1)[:, None, None]
        probability = np.exp(entered + onward - all_chains)
        probability[:, :, 0] = 0.0  # entered at the edge: its endplate is out of view
        return {name: probability[:, state, :-1] for state, name in enumerate(_STATES) if name not in _WITHOUT_ENDPLATE}

    def likeliest(self) -> tuple[tuple[str, int, int], ...]:
        """:attr:`Numbering.path` of the first spine."""
        entered, left = (each[0] for each in self._forward(_BEST))
        state, end = int(left[:, -1].argmax()), self._rows
        path = []
        while True:
            start = int(np.argmax(self._from(state, entered[state], end)))
            path.append((_STATES[state], start, end))
            if start == 0:
                return tuple(path[::-1])
            state = int((left[:state, start] + self._follow[:state, state]).argmax())
            end = start

    def _from(self, state: int, entered: Floats, end: int) -> Floats:
        """(n + 1,) log weight of a segment of the first spine that ends at a boundary, from every other."""
        start = np.arange(self._rows + 1)
        allowed = start < end
        if _STATES[state] not in _ENDLESS:
            whole = (end - start >= _SHORTEST) | (start == 0) | (end == self._rows)
            allowed &= whole & (end - start <= _LONGEST)
        upto = self._upto[0, state]
        return np.where(allowed, entered + upto[end] - upto, _NEVER)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Total:
    """What several log weights amount to.

    Attributes:
        over: along one axis.
        running: along the last axis, of each and all before it.
    """

    over: Callable[..., Floats]
    running: Callable[..., Floats]


def _log_sum(weights: Floats, axis: int) -> Floats:
    """Several times as fast as ``np.logaddexp.reduce``."""
    most = weights.max(axis=axis, keepdims=True)
    most[most == _NEVER] = 0.0
    with np.errstate(divide="ignore"):  # none of them can be
        return np.log(np.exp(weights - most).sum(axis=axis)) + most.squeeze(axis)  # type: ignore[no-any-return]


_SUM = _Total(_log_sum, partial(np.logaddexp.accumulate, axis=-1))
_BEST = _Total(np.max, partial(np.maximum.accumulate, axis=-1))


def _within_reach(weight: Floats, total: _Total, *, endless: bool) -> Floats:
    """(spines, n + 1) for every boundary: the total of those below it at which a segment to it may begin.

    A vertebra is neither shorter nor longer than one can be, unless the edge of the image cuts it off.
    """
    last = weight.shape[1] - 1
    if endless:
        return np.pad(total.running(weight)[:, :-1], ((0, 0), (1, 0)), constant_values=_NEVER)
    padded = np.pad(weight, ((0, 0), (_LONGEST, 0)), constant_values=_NEVER)
    windows = sliding_window_view(padded, _LONGEST - _SHORTEST + 1, axis=1)[:, : last + 1]
    reached = total.over(windows, axis=2)
    reached[:, 1 : min(_SHORTEST, last)] = weight[:, :1]  # cut off at its lower end
    reached[:, last] = total.over(weight[:, max(0, last - _LONGEST) : last], axis=1)  # and at its upper end
    return reached


def _transitions() -> Floats:
    """(states, states) log weight of the second right above the first."""
    follow = np.full((len(_STATES), len(_STATES)), _NEVER)
    for lower, upper in itertools.pairwise(_STATES):
        follow[_STATES.index(lower), _STATES.index(upper)] = 0.0
    sacrum = _STATES.index("S1")
    for name, weight in (("L6", _OTHER_COUNT), ("L5", 0.0), ("L4", _OTHER_COUNT)):
        follow[sacrum, _STATES.index(name)] = weight
    return follow
