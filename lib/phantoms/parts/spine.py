"""Vertebrae, discs and the spinal canal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Canvas
from lib.phantoms.frame import Frame, Vertebra
from lib.phantoms.parts.spine_arch import ArchSize, arch_bars, arch_sizes, canal_depth, is_sacralised
from lib.phantoms.parts.spine_solids import Bar, Block, Cut, Field, block_of
from lib.phantoms.shapes import Curve, Tube, ellipse, inset

SKULL_BASE_Z = 520.0
"""Upper end of the canal, reference mm."""

_SHELL_MM, _ENDPLATE_MM, _ARCH_CORTEX_MM, _CANAL_WALL_MM = 0.9, 1.0, 2.0, 1.3
_JOINT_GAP_MM = 1.3
_WEDGE = (0.012, 0.014)
"""Spread of how much the two plates of a body part to the right and to the front, mm per mm."""
_INTO_PLATE_MM = 1.6
"""How far a disc reaches into the bodies, which are drawn over it, so that it fills their hollow plates."""
_FAR_MM = 99.0
_ARCH_REACH_MM = 40.0
"""How far above and below its body a vertebra reaches at most."""

_SACRAL_TAPER = 0.34
_SACRUM = ("sacrum_cortex", "sacrum_marrow")


@dataclass(frozen=True)
class _Bones:
    """One vertebra: its solids, the nerve roots that leave below its pedicles, and the box that it fills."""

    level: str
    body: Block | None
    bars: list[Bar]
    roots: list[Tube]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Disc:
    """A disc, between the bodies above and below it."""

    block: Block
    above: Block
    below: Block | None


class Spine:
    """Vertebrae C1 to S1, discs and the spinal canal down to S2."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._vertebrae = [frame.vertebrae[level] for level in frame.person.variant.levels]
        self._sizes = list(arch_sizes(frame).values())
        age = max(frame.person.age_years - 50.0, 0.0)
        spur = age / 30.0 * 2.0 * float(frame.rng("spine").uniform(0.2, 1.0))
        self._bodies = [_body(frame, vertebra, spur) for vertebra in self._vertebrae]
        self._discs = _discs(self._vertebrae, self._bodies)
        self._canal = _canal(frame, self._vertebrae, self._sizes)
        self._canal_low = frame.vertebrae["S1"].inferior_z - 22.0
        self._built: dict[int, _Bones] = {}

    def _bones(self, i: int) -> _Bones:
        """A vertebra, built when a slice first comes near it."""
        if i not in self._built:
            vertebra, size = self._vertebrae[i], self._sizes[i]
            below = (self._vertebrae[i + 1], self._sizes[i + 1]) if i + 1 < len(self._sizes) else None
            bars = arch_bars(self._frame, vertebra, size, below) + _extra_bars(vertebra, self._vertebrae)
            self._built[i] = _bones(vertebra.level, self._bodies[i], bars, _roots(vertebra, size))
        return self._built[i]

    def paint(self, canvas: Canvas) -> None:
        """Discs and the fat around the canal first, then the canal, then the bones hollowed out for it."""
        z = canvas.z
        if not self._canal_low - 30.0 < z < SKULL_BASE_Z:
            return
        in_canal = z > self._canal_low
        x, y, a, b, room = (float(value) for value in self._canal(z))
        near = [self._bones(i) for i, v in enumerate(self._vertebrae) if abs(z - v.z) < v.height / 2 + _ARCH_REACH_MM]
        bones = [bones for bones in near if bones.low[2] < z < bones.high[2]]
        discs = [disc for disc in self._discs if abs(z - disc.block.place[2]) < disc.block.reach[2]]
        if in_canal and bones:
            beside = canvas.polygon(ellipse(x, y - 1.0, a + room, b + 5.0, n=32))
            canvas.fill(beside.where(~canvas.is_any(beside, _SACRUM)), "intermuscular_fat")
            canvas.fill(inset(_canal_outline(x, y, a, b), -_CANAL_WALL_MM), "sacrum_cortex", over="sacrum_marrow")
            for thing in bones:
                for root in thing.roots:
                    canvas.fill(canvas.discs(*root.cut(z)), "spinal_canal", over="intermuscular_fat")
        if bones or discs:
            boxes = [(thing.low[:2], thing.high[:2]) for thing in bones]
            boxes += [
                ((disc.block.place - disc.block.reach)[:2], (disc.block.place + disc.block.reach)[:2]) for disc in discs
            ]
            low, high = np.min([box[0] for box in boxes], axis=0), np.max([box[1] for box in boxes], axis=0)
            cut = Cut(canvas, (x, y), (low[0], low[1]), (high[0], high[1]))
            if cut.mask.inside.size:
                for disc in discs:
                    _paint_disc(canvas, cut, disc)
                self._paint_bones(canvas, cut, bones, in_canal=in_canal)
        if in_canal:
            canvas.fill(_canal_outline(x, y, a, b), "spinal_canal")

    def _paint_bones(self, canvas: Canvas, cut: Cut, bones: list[_Bones], *, in_canal: bool) -> None:
        """Outer and inner surface of every vertebra; where two of them meet, a joint."""
        surfaces = [_surface(cut, thing) for thing in bones]
        if in_canal:
            part, wall = self._canal_field(cut)
            for outer, inner, _ in surfaces:
                outer[part] = np.maximum(outer[part], -wall)
                inner[part] = np.maximum(inner[part], _CANAL_WALL_MM - wall)
        for (upper, upper_in, _), (lower, lower_in, _) in pairwise(surfaces):
            middle = (upper - lower) / 2
            gap = _JOINT_GAP_MM / 2
            canvas.fill(replace(cut.mask, inside=(upper < 0) & (lower < 0)), "cartilage")
            for field, inner, share in ((upper, upper_in, middle), (lower, lower_in, -middle)):
                np.maximum(field, share + gap, out=field)
                np.maximum(inner, share + gap + _SHELL_MM, out=inner)
        for thing, (outer, inner, in_body) in zip(bones, surfaces, strict=True):
            inside = outer < 0
            if thing.level == "S1" and thing.body is not None:
                # one bone with the rest of the sacrum: no cortex between them, but for the endplate
                _, plate = thing.body.fields(cut, cut.whole())
                inner[canvas.is_any(cut.mask, "sacrum_marrow") & inside & (plate < -_ENDPLATE_MM)] = -1.0
            canvas.fill(replace(cut.mask, inside=inside), f"{thing.level}_cortex")
            canvas.fill(replace(cut.mask, inside=inside & in_body), f"{thing.level}_shell")
            canvas.fill(replace(cut.mask, inside=inner < 0), f"{thing.level}_marrow")

    def _canal_field(self, cut: Cut) -> tuple[tuple[slice, slice], Field]:
        """Distance from the canal's wall, negative inside it, near the canal."""
        x, y, a, b, _ = self._canal(cut.z)
        part = cut.part(np.array([x - a - 4, y - b - 4]), np.array([x + a + 4, y + b + 4]))
        place = np.array([x, y, cut.z])
        v = cut.along(np.array([0.0, 1.0, 0.0]), place, part)
        u = cut.along(np.array([1.0, 0.0, 0.0]), place, part)
        below = v / b
        p = u / (a * (1.0 + _NARROW * np.minimum(np.maximum(below, -1.0), 1.0)))
        k = np.sqrt(p * p + below * below + 1e-6)
        return part, (1.0 - 1.0 / k) * np.sqrt(u * u + v * v + 1e-6 * b * b)


_NARROW = 0.2
"""By which share the canal is wider in front and narrower behind."""


def _canal_outline(x: float, y: float, a: float, b: float) -> npt.NDArray[np.float64]:
    outline = ellipse(0.0, 0.0, a, b, n=32)
    outline[:, 0] *= 1.0 + _NARROW * outline[:, 1] / b
    return outline + np.array([x, y])


def _body(frame: Frame, vertebra: Vertebra, spur: float) -> Block | None:
    """The body of a vertebra; the atlas has none."""
    level = vertebra.level
    if level == "C1":
        return None
    if level == "S1":
        freed = frame.person.variant.transition == "lumbarisation"
        return block_of(vertebra, waist=0.04, taper=0.1 if freed else _SACRAL_TAPER, front=0.02, rims=(0.8, 0.8))
    # the lower plate is the hollower one
    rims = (min(2.8, 0.27 * vertebra.disc), min(1.5, 0.16 * vertebra.disc))
    wedge = tuple(float(part) for part in frame.rng(f"plates of {level}").normal((0.0, 0.012), _WEDGE))
    if is_sacralised(frame, level):
        return block_of(vertebra, waist=0.02, front=0.02, rims=rims, wedge=wedge)  # squared
    if level[0] == "L":
        return block_of(vertebra, waist=0.09, front=0.03, rims=rims, wedge=wedge, spur=spur)
    if level[0] == "T":
        return block_of(vertebra, waist=0.07, front=0.14, rims=rims, wedge=wedge, spur=spur * 0.7)
    return block_of(vertebra, waist=0.04, front=0.05, rims=(0.6 * rims[0], 0.6 * rims[1]), spur=spur * 0.5)


def _bones(level: str, body: Block | None, bars: list[Bar], roots: list[Tube]) -> _Bones:
    low = [bar.low for bar in bars] + ([body.place - body.reach] if body else [])
    high = [bar.high for bar in bars] + ([body.place + body.reach] if body else [])
    return _Bones(level, body, bars, roots, np.min(low, axis=0), np.max(high, axis=0))


def _roots(vertebra: Vertebra, size: ArchSize) -> list[Tube]:
    """The nerves that leave the canal below the pedicles of a vertebra, thickest at their ganglion."""
    if vertebra.level[0] not in "TL":
        return []
    v0, half = -canal_depth(vertebra, size), vertebra.height / 2
    a, (thick, thin) = size.canal_a, (2.9, 1.9) if vertebra.level[0] == "L" else (2.0, 1.3)
    way = ((0.8 * a, 0.0, 0.1), (a + 4, 1.5, -0.45), (a + 10, 6.0, -1.0), (a + 14, 12.0, -1.6))
    return [
        Tube([vertebra.at(sign * u, v0 + v, w * half) for u, v, w in way], [thin, thick, thick * 0.8, thin], step=2.0)
        for sign in (1.0, -1.0)
    ]


def _extra_bars(vertebra: Vertebra, vertebrae: list[Vertebra]) -> list[Bar]:
    """The anterior arch of the atlas, and the dens of the axis that turns behind it."""
    atlas, axis = vertebrae[0], vertebrae[1]
    if vertebra.level == "C2":
        up = atlas.at(0.0, 0.0, 0.25 * atlas.height)
        return [Bar.between(axis.at(0.0, 0.0, 0.0), up, axis.axes[0], (5.0, 4.6), (5.0, 4.6))]
    if vertebra.level == "C1":
        bars = []
        for sign in (1.0, -1.0):
            mass = atlas.at(sign * 18.0, -3.0, 0.0)
            bars.append(Bar.between(atlas.at(0.0, 9.0, 0.0), mass, np.array([0.0, 1.0, 0.0]), (3.0, 3.2), (5.0, 6.0)))
            bars.append(
                Bar.between(
                    atlas.at(sign * 17.0, -3.0, 4.0), atlas.at(sign * 18.5, -4.0, -4.0), atlas.axes[0],
                    (5.0, 5.5), (8.0, 7.5),
                )
            )  # fmt: skip
        return bars
    return []


def _discs(vertebrae: list[Vertebra], bodies: list[Block | None]) -> list[_Disc]:
    """Discs from C2 down to the one below S1, which is a remnant."""
    discs = []
    for i in range(1, len(vertebrae)):
        upper, above = vertebrae[i], bodies[i]
        below = bodies[i + 1] if i + 1 < len(bodies) else None
        if above is None or upper.disc <= 0:
            continue
        top = above.place - above.axes[2] * above.half
        if below is None:
            middle = top - above.axes[2] * upper.disc / 2
            a, b = above.a * (1 - above.taper), above.b * (1 - above.taper)
            block = Block(middle, above.axes, a, b, upper.disc / 2)
        else:
            bottom = below.place + below.axes[2] * below.half
            axes = Vertebra(
                upper.level, 0, 0, 0, 0, 0, 0, 0,
                tilt=(upper.tilt + vertebrae[i + 1].tilt) / 2, roll=(upper.roll + vertebrae[i + 1].roll) / 2,
                turn=(upper.turn + vertebrae[i + 1].turn) / 2,
            ).axes  # fmt: skip
            a, b = (above.a + below.a) / 2, (above.b + below.b) / 2
            half = upper.disc / 2 + 0.2 * a
            block = Block((top + bottom) / 2, axes, a, b, half, front=above.front, waist=-0.02)
        discs.append(_Disc(block, above, below))
    return discs


def _paint_disc(canvas: Canvas, cut: Cut, disc: _Disc) -> None:
    block = disc.block
    part = cut.part((block.place - block.reach)[:2], (block.place + block.reach)[:2])
    side, plate = block.fields(cut, part)
    inside = (side < 0) & (plate < 0) & (cut.along(disc.above.axes[2], disc.above.place, part) < 0)
    if disc.below is not None:
        inside &= cut.along(disc.below.axes[2], disc.below.place, part) > 0
        inside &= cut.along(disc.below.axes[2], disc.below.place, part) > disc.below.half - _INTO_PLATE_MM
    inside &= cut.along(disc.above.axes[2], disc.above.place, part) < _INTO_PLATE_MM - disc.above.half
    mask = np.zeros(cut.mask.inside.shape, bool)
    mask[part] = inside
    canvas.fill(replace(cut.mask, inside=mask), "disc")


def _surface(cut: Cut, bones: _Bones) -> tuple[Field, Field, npt.NDArray[np.bool_]]:
    """Distances of the window's voxels from a vertebra's outer surface and from the inside of its cortex; its body."""
    outer = np.full(cut.mask.inside.shape, _FAR_MM)
    inner = np.full(cut.mask.inside.shape, _FAR_MM)
    in_body = np.zeros(cut.mask.inside.shape, bool)
    body = bones.body
    if body is not None and abs(cut.z - body.place[2]) < body.reach[2]:
        part = cut.part((body.place - body.reach)[:2], (body.place + body.reach)[:2])
        side, plate = body.fields(cut, part)
        outer[part] = np.maximum(side, plate)
        inner[part] = np.maximum(side + _SHELL_MM, plate + _ENDPLATE_MM)
        in_body[part] = outer[part] < 0
    for bar in bones.bars:
        if bar.low[2] < cut.z < bar.high[2]:
            part = cut.part(bar.low[:2], bar.high[:2])
            field = bar.field(cut, part)
            outer[part] = np.minimum(outer[part], field)
            inner[part] = np.minimum(inner[part], field + _ARCH_CORTEX_MM)
    return outer, inner, in_body


def _canal(frame: Frame, vertebrae: list[Vertebra], sizes: list[ArchSize]) -> Curve:
    """x, y, half-width and half-depth of the canal along z, and how far the fat of the foramina reaches beyond it."""
    stations: dict[float, tuple[float, float, float, float, float]] = {}
    for vertebra, size in zip(vertebrae, sizes, strict=True):
        x, y, z = vertebra.at(0.0, -canal_depth(vertebra, size), 0.0)
        tilted = float(np.cos(vertebra.tilt))
        room = 9.0 if vertebra.level[0] in "LS" else 5.0
        stations[float(z)] = (float(x), float(y), size.canal_a, size.canal_b / tilted, room)
    top, bottom = vertebrae[0], vertebrae[-1]
    lower = bottom.inferior_z - 20.0
    stations[lower] = (0.0, frame.column(lower)[1] - 19.5, 11.0, 6.0, 5.0)
    stations[SKULL_BASE_Z] = (top.x, frame.column(SKULL_BASE_Z)[1] - 16.0, 14.0, 13.0, 2.0)
    return Curve(stations)
