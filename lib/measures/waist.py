"""The waist: from the lower margin of the last rib to the upper margin of the iliac crest (Lee 2021, section 2.6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.measures.body_map import BodyMap
from lib.measures.bone_pieces import Pieces

# Sideways from the spinal canal: beyond the bodies and most of the transverse processes, up to beyond the hip bones.
_BESIDE_MM = (38.0, 190.0)
_ROOT_MM = 50.0  # a rib comes nearer to the spine than that, and leaves it farther than a transverse process
_RIB_REACHES_MM = 62.0
_ROOT_FORWARD_MM = (-40.0, 45.0)
_SAME_PAIR_MM = 22.0
_CRESTS_APART_MM = 60.0
# A wing of the hip bone on a slice, and over how much height it has to go on like that.
_WING_CM2, _WING_LENGTH_MM, _WING_SHARE, _WING_HEIGHT_MM = 2.5, 35.0, 0.6, 12.0


@dataclass(frozen=True, kw_only=True)
class BonyMargins:
    """What bounds the waist, as layers of a :class:`BodyMap`; ``None`` where it is not in view.

    Attributes:
        crests: the highest layer of each hip bone whose crest is in view.
        last_rib: the lowest layer of the last ribs: those that spring lowest from the spine.
    """

    crests: tuple[int, ...]
    last_rib: int | None

    @property
    def crest(self) -> int | None:
        """The upper margin of the iliac crests."""
        return max(self.crests, default=None)


def find_margins(body: BodyMap) -> BonyMargins:
    """Find the crests of the hip bones and the last ribs beside the spine.

    A rib is bone that leaves the spine and leads outwards and down; one of less than about 3 cm, a rudiment, does not
    count. A hip bone is what makes up most of the bone beside the spine over more than a centimetre of height.
    """
    crests = []
    sides = []
    for side in (-1, 1):
        pieces = Pieces.beside_spine(body, side, _BESIDE_MM)
        wing = _wing(body, pieces)
        sides.append((pieces, wing))
        if wing.any() and (top := int(pieces.layer[wing].max())) < body.layers - 1:
            crests.append(top)
    # Where a side shows no hip bone, its shoulder blade may look like one.
    crests = [crest for crest in crests if body.mm(crest - min(crests)) <= _CRESTS_APART_MM]
    above = max(crests, default=-1)
    ribs = [rib for pieces, wing in sides for rib in _last_rib(pieces, wing, above)]
    if not ribs:
        return BonyMargins(crests=tuple(crests), last_rib=None)
    root = min(rib[0] for rib in ribs)
    pair = [tip for other, tip in ribs if body.mm(other - root) <= _SAME_PAIR_MM]
    return BonyMargins(crests=tuple(crests), last_rib=min(pair))


def _wing(body: BodyMap, pieces: Pieces) -> npt.NDArray[np.bool_]:
    """The pieces of the hip bone of a side from where its wing is first seen upwards; none where there is no wing."""
    total = np.zeros(body.layers)
    np.add.at(total, pieces.layer, pieces.cm2)
    like = (
        (pieces.cm2 >= _WING_CM2)
        & (pieces.length_mm >= _WING_LENGTH_MM)
        & (pieces.cm2 >= _WING_SHARE * total[pieces.layer])
    )
    needed = body.layers_of(_WING_HEIGHT_MM)
    run = np.ones(len(like), int)  # layers of wing below each piece, itself included
    for lower, upper in pieces.links[np.argsort(pieces.links[:, 1], kind="stable")]:
        if like[lower] and like[upper]:
            run[upper] = max(run[upper], run[lower] + 1)
    start = like & (run >= needed)
    if start.any():
        start &= pieces.layer == pieces.layer[start].min()
    return pieces.above(start)


def _last_rib(pieces: Pieces, wing: npt.NDArray[np.bool_], above: int) -> list[tuple[int, int]]:
    """Root and lowest layer of the rib that springs lowest from the spine above a layer, in a list; or an empty one."""
    lowest, farthest = pieces.below()
    roots = (
        (pieces.nearest_mm <= _ROOT_MM)
        & (farthest >= _RIB_REACHES_MM)
        & (pieces.forward_mm > _ROOT_FORWARD_MM[0])
        & (pieces.forward_mm < _ROOT_FORWARD_MM[1])
        & (pieces.layer > above)
        & ~wing
    )
    if not roots.any():
        return []
    root = int(np.flatnonzero(roots)[0])
    return [(int(pieces.layer[root]), int(lowest[root]))]
