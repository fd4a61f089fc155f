"""The arches of the vertebrae: canal, pedicles, laminae and processes, from a table of their sizes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from lib.phantoms.frame import Frame, Vertebra
from lib.phantoms.head_surface import HeadSurface
from lib.phantoms.parts.spine_solids import Bar
from lib.phantoms.shapes import Curve
from lib.phantoms.trunk import Trunk

_BACK = 96
"""Index of the direction straight to the back in the outlines of the trunk."""


@dataclass(frozen=True)
class ArchSize:
    """Sizes of one vertebra's arch, mm. `v` counts from the middle of the canal to the front, `w` up from mid-body.

    Attributes:
        canal_a: half-width of the canal.
        canal_b: half-depth of the canal.
        pedicle_a: half-width of a pedicle.
        pedicle_h: half-height of a pedicle.
        transverse_u: how far the tip of the transverse process lies from the midline, centre of its rounding.
        transverse_v: where its tip lies.
        transverse_w: and its height.
        transverse_a: half-thickness.
        transverse_h: half-height.
        lamina_a: half-thickness.
        lamina_h: half-height.
        facet_u: place of the joint with the vertebra above.
        facet_v: its place.
        facet_angle: degrees by which the joint's normal turns from the side (0, lumbar) to the front (90, thoracic).
        facet_wide: half-width of the joint.
        spine_v: tip of the spinous process.
        spine_w: its height.
        spine_a: half-thickness.
        spine_root_h: half-height at its root.
        spine_tip_h: half-height at its tip.
    """

    canal_a: float
    canal_b: float
    pedicle_a: float
    pedicle_h: float
    transverse_u: float
    transverse_v: float
    transverse_w: float
    transverse_a: float
    transverse_h: float
    lamina_a: float
    lamina_h: float
    facet_u: float
    facet_v: float
    facet_angle: float
    facet_wide: float
    spine_v: float
    spine_w: float
    spine_a: float
    spine_root_h: float
    spine_tip_h: float


# By place in the column: 3 is C3, 8 T1, 20 L1, 24 the last lumbar vertebra, 25 S1.
_SIZES = Curve({
    1: (14.0, 11.0, 3.0, 4.0, 36, 6, -1, 3.5, 4.0, 3.0, 3.5, 19, 8, 90, 6.5, -15, -1, 3.0, 3.0, 3.0),
    2: (12.5, 9.0, 4.0, 5.0, 27, 5, -3, 3.0, 3.5, 3.4, 6.0, 18, 7, 90, 6.5, -24, -6, 3.6, 5.5, 5.0),
    3: (12.0, 7.5, 2.8, 3.5, 25, 7, -1, 2.8, 3.2, 2.0, 5.2, 18, -1, 80, 6.0, -20, -5, 2.4, 4.0, 3.6),
    5: (12.5, 7.5, 2.9, 3.5, 26, 7, -1, 2.8, 3.2, 2.0, 5.2, 19, -2, 80, 6.0, -22, -7, 2.4, 4.0, 3.6),
    7: (13.0, 7.5, 3.2, 4.5, 33, 3, -1, 3.0, 4.0, 2.8, 7.0, 18, -4, 80, 6.0, -41, -10, 2.8, 6.0, 4.6),
    8: (11.0, 7.5, 4.0, 5.0, 37, -8, 2, 4.0, 5.0, 3.0, 8.5, 13, -7, 85, 5.0, -45, -14, 3.0, 6.0, 4.6),
    10: (9.0, 7.5, 3.0, 5.5, 33, -14, 2, 4.0, 5.3, 3.0, 9.5, 10.5, -8, 85, 4.8, -38, -23, 2.8, 5.5, 4.0),
    13: (8.2, 7.8, 2.7, 6.0, 31, -18, 3, 4.2, 5.3, 3.0, 11.0, 9.5, -9, 85, 4.6, -36, -32, 2.6, 5.0, 3.5),
    16: (8.5, 8.0, 3.2, 6.8, 28, -16, 3, 4.2, 5.0, 3.0, 12.0, 9.5, -9, 85, 4.6, -36, -26, 2.8, 6.0, 4.5),
    18: (9.0, 8.2, 4.2, 7.5, 21, -12, 2, 3.8, 4.5, 3.2, 12.0, 9.5, -9, 75, 4.8, -36, -13, 3.0, 8.0, 7.0),
    19: (10.5, 8.3, 4.2, 7.8, 19, -10, 1, 3.8, 4.5, 3.2, 12.0, 10.5, -9, 60, 5.0, -38, -8, 3.0, 9.5, 8.5),
    20: (11.2, 8.5, 4.0, 7.8, 36, -6, 3, 2.8, 4.8, 3.2, 10.5, 12.0, -8.5, 28, 5.8, -44, -6, 2.8, 10.0, 9.5),
    22: (11.8, 8.5, 5.0, 7.5, 46, -7, 4, 2.8, 5.2, 3.4, 10.0, 13.5, -8.5, 32, 6.5, -47, -6, 2.9, 10.5, 11.0),
    24: (13.5, 9.0, 8.0, 7.0, 44, -9, 5, 4.8, 6.8, 3.4, 8.5, 18.0, -7.0, 48, 7.0, -37, -5, 3.2, 8.0, 7.0),
    25: (15.0, 8.5, 9.0, 7.5, 36, -6, 2, 5.0, 8.0, 2.8, 8.0, 19.0, -6.5, 52, 7.0, -22, -4, 3.0, 6.5, 5.0),
})  # fmt: skip


def place_of(level: str, levels: tuple[str, ...]) -> float:
    """Where a vertebra stands in the table: lumbar ones are spread from 20 to 24 whatever their number."""
    if level == "S1":
        return 25.0
    number = int(level[1:])
    if level[0] == "L":
        count = sum(name[0] == "L" for name in levels)
        return 20.0 + 4.0 * (number - 1) / (count - 1)
    return float(number if level[0] == "C" else 7 + number)


def arch_sizes(frame: Frame) -> dict[str, ArchSize]:
    """Sizes of the arches of all vertebrae, with some individual variation and what goes with a variant of the ribs."""
    rng = frame.rng("arches")
    variant = frame.person.variant
    sizes = {}
    for level in variant.levels:
        row = _SIZES(place_of(level, variant.levels)) * rng.uniform(0.95, 1.05, len(fields(ArchSize)))
        sizes[level] = ArchSize(*(float(value) for value in row))
    if variant.rib_l1:  # the rib stands for the greater part of the transverse process
        sizes["L1"] = replace(sizes["L1"], transverse_u=_SHORT_MM)
    if variant.rib_12 == "absent":  # T12 looks like a lumbar vertebra
        sizes["T12"] = replace(sizes["T12"], transverse_u=_LUMBAR_LIKE_MM, transverse_v=-7.0)
    return sizes


_SHORT_MM, _LUMBAR_LIKE_MM = 21.0, 30.0


def canal_depth(vertebra: Vertebra, size: ArchSize) -> float:
    """How far, mm, the middle of the canal lies behind the middle of the body; it hollows the body's back a little."""
    return vertebra.b + size.canal_b - 1.5


@dataclass(frozen=True)
class Joint:
    """The joint of a vertebra with the one above on one side: the middle between the facets, and its directions.

    Attributes:
        place: x, y, z.
        normal: from the upper vertebra's facet to the lower one's.
        up: along the lower vertebra's axis.
        wide: half-width, mm.
    """

    place: npt.NDArray[np.float64]
    normal: npt.NDArray[np.float64]
    up: npt.NDArray[np.float64]
    wide: float


_FACET_MM = 3.8
"""Half-thickness of an articular process; the two of a joint overlap a little and share what is between them."""


def joint_of(vertebra: Vertebra, size: ArchSize, sign: float) -> Joint:
    """A vertebra's upper joint on the side of a sign, at the height of the edge of its body."""
    angle = np.deg2rad(min(size.facet_angle, 90.0))
    axes = vertebra.axes
    normal = sign * np.cos(angle) * axes[0] + np.sin(angle) * axes[1]
    place = vertebra.at(sign * size.facet_u, size.facet_v - canal_depth(vertebra, size), vertebra.height / 2)
    return Joint(place, normal, axes[2], size.facet_wide)


def arch_bars(frame: Frame, vertebra: Vertebra, size: ArchSize, below: tuple[Vertebra, ArchSize] | None) -> list[Bar]:
    """Pedicles, laminae, transverse, articular and spinous processes of a vertebra.

    Args:
        frame: of the body.
        vertebra: whose arch it is.
        size: of the arch.
        below: the next vertebra and its arch, to whose joints the lower articular processes reach.
    """
    rng = frame.rng(f"arch of {vertebra.level}")
    bars = []
    for sign in (1.0, -1.0):
        bars += _side(vertebra, size, sign, uneven=float(rng.uniform(0.93, 1.07)), person=frame)
        bars += _lower_articular(vertebra, size, sign, below)
    bars.append(_spinous(frame, vertebra, size, lean=float(rng.uniform(-2.0, 2.0))))
    return bars


def _side(vertebra: Vertebra, size: ArchSize, sign: float, *, uneven: float, person: Frame) -> list[Bar]:
    v0 = -canal_depth(vertebra, size)
    half = vertebra.height / 2
    right, front, up = vertebra.axes
    cervical = vertebra.level[0] == "C"

    def at(u: float, v: float, w: float) -> npt.NDArray[np.float64]:
        return vertebra.at(sign * u, v, w)

    root = size.canal_a + size.pedicle_a - 0.5
    height = 0.0 if cervical else half - size.pedicle_h - 1.0
    joint = joint_of(vertebra, size, sign)
    pillar = joint.place + joint.normal * (_FACET_MM - 0.4)
    behind = at(size.facet_u, v0 + size.facet_v, 0.0) if cervical else at(root, v0 - 2.0, height)
    bars = [
        Bar.between(
            at(min(root, 0.78 * vertebra.a), -0.5 * vertebra.b, height), behind, right,
            (size.pedicle_a, size.pedicle_a), (size.pedicle_h, size.pedicle_h),
        ),
        Bar.between(
            at(size.canal_a + 1.8, v0 - 0.45 * size.canal_b, -0.08 * half),
            at(0.0, v0 - size.canal_b - size.lamina_a + 0.8, -0.25 * half),
            front + sign * 0.7 * right, (size.lamina_a * 1.1, size.lamina_a), (size.lamina_h, size.lamina_h * 0.95),
        ),
        Bar.between(
            behind if cervical else at(root, v0 - 1.0, height - 3.0), pillar + up * (3.0 if cervical else 5.0),
            joint.normal, (size.lamina_a + 1.0, _FACET_MM - 0.3), (size.facet_wide, size.facet_wide * 0.9),
        ),
    ]  # fmt: skip
    if vertebra.level != "S1" or person.person.variant.transition == "lumbarisation":
        bars.append(_transverse(vertebra, size, sign, uneven=uneven, frame=person))
    return bars


def _transverse(vertebra: Vertebra, size: ArchSize, sign: float, *, uneven: float, frame: Frame) -> Bar:
    """The transverse process; of a sacralised vertebra it is broad and reaches down to the ala of the sacrum."""
    v0 = -canal_depth(vertebra, size)
    start = (size.canal_a + size.pedicle_a, v0 + 0.3 * size.canal_b, vertebra.height / 2 - size.pedicle_h - 2.0)
    tip = (size.transverse_u * uneven, v0 + size.transverse_v, size.transverse_w)
    thick, wide = size.transverse_a, size.transverse_h
    if vertebra.level[0] == "C":
        start = (0.7 * vertebra.a, v0 + 0.5 * size.canal_b, 0.0)
    if is_sacralised(frame, vertebra.level):
        tip = (46.0, v0 + 6.0, -vertebra.height / 2 - 1.0)
        thick, wide = 7.5, 12.5
    side = np.array([sign, 1.0, 1.0])
    return Bar.between(
        vertebra.at(*(side * start)), vertebra.at(*(side * tip)), vertebra.axes[1],
        (thick * 1.15, thick), (wide * 1.1, wide),
    )  # fmt: skip


def is_sacralised(frame: Frame, level: str) -> bool:
    """Whether a vertebra is the last lumbar one and joined to the sacrum."""
    return frame.person.variant.transition == "sacralisation" and level == frame.person.variant.levels[-2]


def _lower_articular(
    vertebra: Vertebra, size: ArchSize, sign: float, below: tuple[Vertebra, ArchSize] | None
) -> list[Bar]:
    """The lower articular process: from the lamina down to the joint with the vertebra below."""
    if below is None:
        return []
    joint = joint_of(*below, sign)
    v0 = -canal_depth(vertebra, size)
    start = vertebra.at(sign * min(size.facet_u, size.canal_a + 1.0), v0 - 0.6 * size.canal_b, -0.1 * vertebra.height)
    end = joint.place - joint.normal * (_FACET_MM - 0.4) - joint.up * 5.0
    return [Bar.between(start, end, joint.normal, (size.lamina_a, _FACET_MM), (joint.wide, joint.wide * 0.85))]


def _fascia_y(frame: Frame, z: float) -> float:
    """The y of the fascia behind the spine; in the neck that of its muscles."""
    trunk = Trunk(frame)
    inside = [float(trunk.outer(z)[_BACK, 1])] if z < trunk.high else []
    if z > HeadSurface.low:
        inside.append(float(HeadSurface(frame).outer(z)[:, 1].min()))
    return max(inside)


def _spinous(frame: Frame, vertebra: Vertebra, size: ArchSize, *, lean: float) -> Bar:
    """The spinous process; its tip stays under the fascia of the back."""
    v0 = -canal_depth(vertebra, size)
    start = vertebra.at(0.0, v0 - size.canal_b - 1.5, -0.3 * vertebra.height / 2)
    tip = vertebra.at(lean, v0 + size.spine_v, size.spine_w)
    tip[1] = max(tip[1], _fascia_y(frame, float(tip[2])) + 5.0)
    return Bar.between(
        start, tip, vertebra.axes[0], (size.spine_a, size.spine_a * 1.15), (size.spine_root_h, size.spine_tip_h)
    )
