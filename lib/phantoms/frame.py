"""The frame that all parts of the body are drawn in: where the vertebrae, joints and surfaces lie.

Reference millimetres: the body is drawn as if everyone were 1.75 m tall; the phantom then scales x and y by
``width_scale`` and z by ``height_scale``. x grows to the patient's right, y to the front, z to the head. The centre of
L3's body has x = y = 0, its inferior endplate z = 0.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from lib.phantoms.person import Person
from lib.phantoms.shapes import Curve

# Heights of body and of the disc below it, mm, in a person of 1.75 m; the text-book values rounded.
_HEIGHTS: dict[str, tuple[float, float]] = {
    "C1": (14, 0), "C2": (20, 4), "C3": (13, 4), "C4": (13, 4), "C5": (12, 5), "C6": (12, 5), "C7": (14, 5),
    "T1": (16, 4), "T2": (17, 4), "T3": (18, 4), "T4": (18, 4), "T5": (19, 4), "T6": (20, 4), "T7": (20, 4),
    "T8": (21, 4), "T9": (21.5, 4), "T10": (22.5, 4.5), "T11": (23.5, 5), "T12": (25, 6),
    "L1": (26.5, 7), "L2": (27.5, 8.5), "L3": (28, 10.5), "L4": (28, 11), "L5": (27.5, 9.5), "L6": (27, 9),
    "S1": (30, 3),
}  # fmt: skip

# Half-width and half-depth of the bodies, mm.
_SIZES: dict[str, tuple[float, float]] = {
    "C1": (10, 8), "C2": (9, 8), "C3": (9, 8), "C4": (9.5, 8), "C5": (10, 8), "C6": (11, 8.5), "C7": (13, 9),
    "T1": (14, 9), "T2": (14, 9.5), "T3": (13.5, 10.5), "T4": (13.5, 12), "T5": (14, 13), "T6": (14.5, 13.5),
    "T7": (15, 14.5), "T8": (15.5, 15), "T9": (16.5, 15.5), "T10": (17.5, 15.5), "T11": (19, 15.5), "T12": (20.5, 15.5),
    "L1": (21, 16), "L2": (22, 16.5), "L3": (23.5, 17), "L4": (25, 17.5), "L5": (26, 17.5), "L6": (26, 17.5),
    "S1": (26, 16.5),
}  # fmt: skip

# y of the vertebral column along z: lordosis of the loins, kyphosis of the chest, lordosis of the neck.
_COLUMN_Y = {
    -225: -78, -190: -74, -150: -55, -101: -28, -64: -12, -25: -2, 14: 0, 50: -2, 87: -8, 120: -16, 150: -24, 178: -31,
    205: -37, 230: -41, 255: -45, 280: -46, 304: -45, 326: -41, 348: -34, 370: -25, 391: -14, 410: -4, 427: 2, 444: 6,
    461: 8, 478: 7, 496: 4, 515: 4,
}  # fmt: skip


@dataclass(frozen=True)
class Vertebra:
    """One vertebra.

    Attributes:
        level: its name.
        x: centre of the body.
        y: centre of the body.
        z: centre of the body.
        height: of the body along z, between the middles of its endplates, mm.
        disc: height of the disc below, mm.
        a: half-width of the body, mm.
        b: half-depth of the body, mm.
        tilt: radians by which its axis leans to the front (sagittal); its endplates fall off to the front with it.
        roll: radians by which its axis leans to the right (coronal), as in scoliosis.
        turn: radians by which it is turned around its axis, from the right towards the front.
    """

    level: str
    x: float
    y: float
    z: float
    height: float
    disc: float
    a: float
    b: float
    tilt: float = 0.0
    roll: float = 0.0
    turn: float = 0.0

    @property
    def superior_z(self) -> float:
        """Height of the middle of the superior endplate."""
        return self.z + self.height / 2

    @property
    def inferior_z(self) -> float:
        """Height of the middle of the inferior endplate."""
        return self.z - self.height / 2

    @cached_property
    def axes(self) -> npt.NDArray[np.float64]:
        """Its own directions as rows, unit vectors in x, y, z: to its right, to its front, up along its axis."""
        up = np.array([np.tan(self.roll), np.tan(self.tilt), 1.0])
        up /= np.sqrt((up**2).sum())
        front = np.array([-np.sin(self.turn), np.cos(self.turn), 0.0])
        front -= (front * up).sum() * up
        front /= np.sqrt((front**2).sum())
        right = np.array([front[1] * up[2] - front[2] * up[1], front[2] * up[0] - front[0] * up[2],
                          front[0] * up[1] - front[1] * up[0]])  # fmt: skip
        return np.stack([right, front, up])

    def at(self, right: float, front: float, up: float) -> npt.NDArray[np.float64]:
        """The place (x, y, z) of a point given along its own directions from the middle of the body, mm."""
        return np.array([self.x, self.y, self.z]) + (self.axes * np.array([[right], [front], [up]])).sum(axis=0)


@dataclass
class Sizes:
    """Factors by which the calibration makes parts larger or smaller, 1 at first.

    Attributes:
        psoas: linear factor on the psoas' cross-section.
        paraspinal: linear factor on the cross-section of the muscles of the back.
        wall: factor on the thickness of the abdominal wall.
        cavity: linear factor on the room inside the abdominal wall.
        fat: factor on the thickness of the subcutaneous fat of the trunk.
        thigh_muscle: linear factor on the muscle compartment of the thigh.
        thigh_fat: factor on the thickness of the thigh's subcutaneous fat.
    """

    psoas: float = 1.0
    paraspinal: float = 1.0
    wall: float = 1.0
    cavity: float = 1.0
    fat: float = 1.0
    thigh_muscle: float = 1.0
    thigh_fat: float = 1.0


@dataclass
class Frame:
    """Landmarks of one individual. Made by :func:`make_frame`.

    Attributes:
        person: who it is.
        seed: of this phantom.
        vertebrae: level to vertebra, from C1 down to S1.
        sizes: factors of the calibration.
        heights: z of named landmarks.
        pelvis_shift: by how many mm pelvis and legs lie higher than with five lumbar vertebrae (negative: lower).
        arms_beside: whether the arms lie beside the body; if not they are raised and out of view.
    """

    person: Person
    seed: int
    vertebrae: dict[str, Vertebra]
    sizes: Sizes = field(default_factory=Sizes)
    heights: dict[str, float] = field(default_factory=dict)
    pelvis_shift: float = 0.0
    arms_beside: bool = False

    def rng(self, name: str) -> np.random.Generator:
        """A stream of random numbers of its own for a part: what one part draws never changes another."""
        return np.random.Generator(np.random.PCG64([self.seed, zlib.crc32(name.encode())]))

    @property
    def female(self) -> bool:
        """Whether the body has a female build."""
        return self.person.sex == "F"

    @property
    def height_scale(self) -> float:
        """World mm per reference mm along z."""
        return self.person.height_m / 1.75

    @property
    def width_scale(self) -> float:
        """World mm per reference mm along x and y: skeletons grow less in width than in length."""
        return float((self.person.height_m / 1.75) ** 0.7 * (0.96 if self.female else 1.0))

    def column(self, z: float) -> tuple[float, float]:
        """The x and y of the middle of the vertebral column at a height."""
        x, y = self._column(z)
        return float(x), float(y)

    def __post_init__(self) -> None:
        ends = {-230.0 + self.pelvis_shift: (0.0, -80.0), 540.0: (0.0, 4.0)}
        stations = {v.z: (v.x, v.y) for v in self.vertebrae.values()}
        low = min(stations)
        sacrum = {
            z + self.pelvis_shift: (0.0, float(y)) for z, y in _COLUMN_Y.items() if z + self.pelvis_shift < low - 15
        }
        self._column = Curve({**ends, **sacrum, **stations})


_S1_Z = -101.0

# The disc that a transitional vertebra changes (Castellvi 1984): place among the levels of the vertebra above the disc,
# and its height: a rudimentary one below the last lumbar vertebra, or a well-formed one between S1 and S2.
_TRANSITION_DISC: dict[str, tuple[int, float]] = {"sacralisation": (-2, 3.5), "lumbarisation": (-1, 8.0)}

# z of landmarks in the reference body with five lumbar vertebrae.
_LANDMARKS: dict[str, float] = {
    "vertex": 660, "orbit": 560, "chin": 440, "shoulder": 400, "sternal_notch": 375, "nipple": 275, "xiphoid": 185,
    "diaphragm_right": 215, "diaphragm_left": 205, "costal_margin": 35, "l3_endplate": 0, "navel": -25,
    "iliac_crest": -24, "asis": -88, "acetabulum_top": -158, "hip": -185, "greater_trochanter": -172,
    "symphysis_top": -200, "symphysis_bottom": -238, "lesser_trochanter": -250, "ischium": -270, "groin": -265,
    "mid_thigh": -400, "knee": -620, "ankle": -1015, "sole": -1090,
}  # fmt: skip


def make_frame(person: Person, seed: int, *, arms_beside: bool = False) -> Frame:
    """Lay out the landmarks of a person: the same seed gives the same frame."""
    rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(b"frame")]))
    levels = person.variant.levels
    stretch = rng.uniform(0.96, 1.04)
    heights = {
        level: (height * stretch * rng.uniform(0.97, 1.03), disc * rng.uniform(0.85, 1.15))
        for level, (height, disc) in _HEIGHTS.items()
    }
    if person.variant.transition in _TRANSITION_DISC:
        above_or_below, disc = _TRANSITION_DISC[person.variant.transition]
        level = levels[above_or_below]
        heights[level] = (heights[level][0], disc * rng.uniform(0.85, 1.15))
    lordosis, kyphosis = rng.uniform(0.75, 1.2), rng.uniform(0.8, 1.2)
    lumbar = levels[levels.index("L3") + 1 :]

    centres: dict[str, float] = {}
    z = 0.0
    for level, above in zip(
        reversed(levels[: levels.index("L3") + 1]), reversed(levels[: levels.index("L3")]), strict=False
    ):
        centres[level] = z + heights[level][0] / 2
        z += heights[level][0] + heights[above][1]
    centres["C1"] = z + heights["C1"][0] / 2
    z = -heights["L3"][1]
    for level in lumbar:
        height, disc = heights[level]
        centres[level] = z - height / 2
        z -= height + disc

    reference = PchipInterpolator(sorted(_COLUMN_Y), [_COLUMN_Y[z] for z in sorted(_COLUMN_Y)])
    shift = centres["S1"] - _S1_Z
    vertebrae = {}
    for level in levels:
        centre = centres[level]
        # below L3 the curve is stretched so that S1 keeps its place in it, and above so that T1 and the skull do
        stretched = _S1_Z / (_S1_Z + shift) if centre < 0 else 1.0
        at = centre * stretched
        bend = lordosis if centre < 0 else kyphosis
        height, disc = heights[level]
        a, b = _SIZES[level]
        y, slope = float(reference(at)) * bend, float(reference(at, 1)) * bend * stretched
        roll, x, turn = _scoliosis(centre, person.strength("scoliosis"), rng_side=seed % 2, sacrum=centres["S1"])
        vertebrae[level] = Vertebra(
            level, x, y, centre, height, disc, a, b, tilt=float(np.arctan(slope)), roll=roll, turn=turn
        )
    landmarks = {name: z + (shift if z < 0 and name != "navel" else 0.0) for name, z in _LANDMARKS.items()}
    landmarks["iliac_crest"] += float(rng.uniform(-9, 9))
    return Frame(person, seed, vertebrae, heights=landmarks, pelvis_shift=shift, arms_beside=arms_beside)


def _scoliosis(z: float, strength: float, *, rng_side: int, sacrum: float) -> tuple[float, float, float]:
    """Roll, shift to the side and turn of a vertebra: a lumbar curve with a counter-curve in the chest.

    A strength of 1 is a Cobb angle of about 45 degrees. The sacrum, at height ``sacrum``, stays in the middle.
    """
    side = 1.0 if rng_side else -1.0

    def shift(at: float) -> float:
        window = float(np.exp(-(((at - 30.0) / 140.0) ** 2)))
        rising = min(max((at - sacrum) / 70.0, 0.0), 1.0)
        wave = float(np.cos(2 * np.pi / 300.0 * (at - 40.0)))
        return 18.0 * strength * side * window * wave * rising**2 * (3 - 2 * rising)

    x = shift(z)
    # bodies turn their front to the convex side
    return float(np.arctan(shift(z + 0.5) - shift(z - 0.5))), x, -0.012 * x
