"""From tissues to Hounsfield units: what a perfect scanner would see of a slice.

Every tissue has a mean, which depends on the person, the contrast agent and the tube voltage, and patterns on top of
it that go on from slice to slice: streaks of fat in muscle, septa and small vessels in fat, fluid in oedematous fat,
gas in stool, vessels in the lung.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Grid
from lib.phantoms.frame import Frame
from lib.phantoms.textures import Field, Noise, ramp, ridge
from lib.phantoms.tissues import BY_ID, TISSUES, Tissue

# Iodine, and calcium less so, absorb low energies more: brightness by tube voltage relative to 120 kVp
_IODINE = {80: 1.70, 100: 1.27, 120: 1.0, 140: 0.84}
_CALCIUM = {80: 1.32, 100: 1.13, 120: 1.0, 140: 0.93}
_FAT = {80: 1.10, 100: 1.04, 120: 1.0, 140: 0.98}

# Trabecular bone of the lumbar spine loses about 2.3 HU a year from the age of 20 on (published normal values)
_TRABECULAR_AT_20, _TRABECULAR_LOSS = 230.0, 2.3
_TABLE_AGE = 50.0
_CORTEX_LOSS = 0.004  # share per year after the age of 50

_LEAN_LOSS = 0.1  # HU that muscle without visible fat loses per year after the age of 30
_STREAKS_AT_20, _STREAKS_PER_YEAR = 0.01, 0.0014  # share of the muscle's volume that is streaks of fat
_STREAKS_OF_ILLNESS, _LEAN_LOSS_OF_ILLNESS = 0.16, 4.0

# Fat comes first to the deep muscles of the back and to the gluteus maximus, last to the psoas
_FATTY = {
    "multifidus": 1.5, "erector_spinae": 1.15, "quadratus_lumborum": 0.9, "psoas_major": 0.6, "gluteus_maximus": 1.3,
    "gluteus_minimus": 1.2, "rectus_abdominis": 0.9, "semimembranosus": 1.2, "biceps_femoris": 1.2, "diaphragm": 0.2,
    "intercostals": 0.6, "external_oblique": 0.5, "internal_oblique": 0.5, "transversus_abdominis": 0.5,
    "gracilis": 0.6, "sartorius": 0.7,
}  # fmt: skip

# It begins beside the laminae: where those lie, mm to the side and to the front of the middle of the column, how far it
# reaches, and by how much, in the units of the pattern, it is ahead there
_LAMINA, _LAMINA_REACH_MM, _DEEP_FIRST = (12.0, -42.0), 34.0, 0.55

# Standard deviations, HU, of the fine (millimetres) and the broad (centimetres) pattern of a texture
_GRAIN = {
    "plain": (3.0, 2.5), "muscle": (7.0, 3.5), "fat": (8.0, 5.0), "marrow": (17.0, 11.0), "cortex": (45.0, 40.0),
    "stool": (28.0, 14.0), "lung": (12.0, 14.0),
}  # fmt: skip
_BLOOD = ("aorta", "vena_cava", "vessel", "heart", "peripheral_vessel")
_UNCHANGING = ("air", "bowel_gas", "airway", "table_shell", "table_foam", "metal")

# HU that a septum, and a small vessel, add
_SEPTA = {"subcutaneous_fat": 34.0, "arm_fat": 34.0, "intermuscular_fat": 30.0, "peritoneal_fat": 16.0,
          "retroperitoneal_fat": 22.0, "intrathoracic_fat": 18.0}  # fmt: skip
_SMALL_VESSELS = {"subcutaneous_fat": 30.0, "arm_fat": 30.0, "intermuscular_fat": 90.0, "peritoneal_fat": 130.0,
                  "retroperitoneal_fat": 75.0, "intrathoracic_fat": 110.0, "renal_sinus": 110.0,
                  "lung": 840.0}  # fmt: skip

# HU that oedema adds at its full strength to the fat on which the patient lies: everywhere, and in the strands
_SOAKED, _STRANDS = 78.0, 66.0
_SOAKS = {"subcutaneous_fat": 1.0, "arm_fat": 0.6, "intermuscular_fat": 0.45, "retroperitoneal_fat": 0.25,
          "peritoneal_fat": 0.15, "skin": 0.1}  # fmt: skip
_STOOL_MATRIX, _STOOL_BUBBLE, _STOOL_GAS_SHARE = 40.0, -760.0, 0.17

# Titanium to steel, by the strength of the condition
_METAL_HU = (3500.0, 9000.0)


class Appearance:
    """HU of one person's tissues, with their patterns.

    Args:
        frame: the person's.
        kvp: the tube voltage: 80, 100, 120 or 140.

    Raises:
        ValueError: there is no such tube voltage.
    """

    def __init__(self, frame: Frame, *, kvp: int = 120) -> None:
        if kvp not in _IODINE:
            raise ValueError(f"A tube voltage is one of {', '.join(map(str, _IODINE))} kVp, got {kvp}.")
        person = frame.person
        self._mean = _means(frame, kvp)
        self._oedema = person.strength("oedema")
        self._fine_sd = _table({tissue.name: _GRAIN[tissue.texture][0] for tissue in BY_ID})
        self._broad_sd = _table({tissue.name: _GRAIN[tissue.texture][1] for tissue in BY_ID})
        for name in _UNCHANGING:
            self._fine_sd[TISSUES[name].id] = self._broad_sd[TISSUES[name].id] = 0
        self._septa, self._vessels = _table(_SEPTA), _table(_SMALL_VESSELS)
        self._vessels *= np.float32(1 + 0.6 * person.strength("contrast"))
        self._vessels[TISSUES["lung"].id] = _SMALL_VESSELS["lung"]
        self._soaks = _table({name: self._oedema * share for name, share in _SOAKS.items()})
        self._is = {
            texture: np.array([tissue.texture == texture for tissue in BY_ID] + [False] * (256 - len(BY_ID)))
            for texture in _GRAIN
        }

        rng = frame.rng("appearance")
        self._fine = Noise(rng, (2.6, 2.6, 5.0))
        self._broad = Noise(rng, (16.0, 16.0, 22.0))
        # bundles of fibres fan out to the back and the sides: mirrored on the patient's left
        self._fibres = [Noise(rng, (1.8, 4.2, 30.0), along=(-sign, 1)) for sign in (-1, 1)]
        self._patches = Noise(rng, (8.0, 8.0, 45.0))
        self._net = Noise(rng, (11.0, 9.0, 16.0))
        self._spots = Noise(rng, (3.3, 3.3, 6.5))
        self._bubbles = Noise(rng, (2.5, 2.5, 2.8))

        # how far the fatty pattern must rise for a voxel to be fat, such that the streaks fill the wanted share
        ill = person.strength("myosteatosis")
        share = _STREAKS_AT_20 + _STREAKS_PER_YEAR * max(person.age_years - 20, 0) + _STREAKS_OF_ILLNESS * ill
        sample = np.sort(np.concatenate([self._fatty(_SAMPLE, 47.0 * k).ravel() for k in range(8)]))
        self._fat_from = np.full(256, 1e6, np.float32)
        for tissue in BY_ID:
            if tissue.texture == "muscle":
                wanted = min(share * _FATTY.get(tissue.name, 1.0), 0.6)
                self._fat_from[tissue.id] = sample[int((1 - wanted) * (len(sample) - 1))]
        self._column = frame.column
        self._deep_first = ill
        self._from_lamina = _table(dict.fromkeys(("multifidus", "erector_spinae"), _DEEP_FIRST * ill))
        self._fat_rise = 2.8 - 1.7 * ill
        self._bubble_from = _quantile(self._bubbles, 1 - _STOOL_GAS_SHARE)
        self._streak_hu = float(self._mean[TISSUES["intermuscular_fat"].id]) + 12.0

    def hu(self, tissue: npt.NDArray[np.uint8], grid: Grid, z: float) -> Field:
        """HU of a slice without blur and noise.

        Args:
            tissue: (nx, ny) ids.
            grid: its voxel centres, reference mm.
            z: its height, reference mm.
        """
        hu = np.full(tissue.shape, self._mean[TISSUES["air"].id])
        window = _of_body(tissue)
        hu[window] = self._in_body(np.ascontiguousarray(tissue[window]), grid.part(window), z)
        return hu

    def _in_body(self, tissue: npt.NDArray[np.uint8], grid: Grid, z: float) -> Field:
        here = np.bincount(tissue.ravel(), minlength=256) > 0
        hu, part = _take(self._mean, tissue), np.empty(tissue.shape, np.float32)
        broad = self._broad.at(grid, z)
        for pattern, spread in ((self._fine.at(grid, z), self._fine_sd), (broad, self._broad_sd)):
            hu += np.multiply(pattern, _take(spread, tissue, part), out=part)
        if here[self._is["muscle"]].any():
            self._add_streaks(hu, tissue, grid, z)
        if here[self._is["fat"]].any() or here[TISSUES["lung"].id]:
            self._add_strands(hu, tissue, grid, z, broad)
        if here[TISSUES["stool"].id]:
            gas = ramp(self._bubbles.at(grid, z), self._bubble_from - 0.25, 2.0)
            gas[tissue != TISSUES["stool"].id] = 0
            gas *= np.float32(_STOOL_BUBBLE)
            hu += gas
        if here[TISSUES["lung"].id]:
            # the lung hangs from its apex: denser by some 90 HU where the patient lies on it
            slope = (-0.45 * _heights_of(grid)).astype(np.float32)
            hu += np.multiply(tissue == TISSUES["lung"].id, slope, out=part)
        return hu

    def _fatty(self, grid: Grid, z: float) -> Field:
        """A pattern that is high along the planes between bundles of fibres, and more so in patches."""
        middle = min(max(int(np.ceil(-grid.x0 / grid.dx)), 0), grid.nx)
        sides = (slice(0, middle), slice(middle, grid.nx))
        pattern = np.concatenate(
            [noise.at(grid.part((side, slice(None))), z) for noise, side in zip(self._fibres, sides, strict=True)]
        )
        np.abs(pattern, out=pattern)
        pattern *= np.float32(-1)
        patches = self._patches.at(grid, z)
        patches *= np.float32(0.5)
        pattern += np.clip(patches, -0.7, 0.5, out=patches)
        return pattern

    def _near_lamina(self, tissue: npt.NDArray[np.uint8], grid: Grid, z: float) -> Field:
        """How much further the fat of illness has come beside the laminae, and how much less far away from them."""
        x0, y0 = self._column(z)
        x = np.abs(grid.x0 + grid.dx * np.arange(grid.nx) - x0) - _LAMINA[0]
        y = _heights_of(grid) - (y0 + _LAMINA[1])
        squared = (x * x).astype(np.float32)[:, None] + (y * y).astype(np.float32)[None, :]
        squared *= np.float32(-1.0 / _LAMINA_REACH_MM**2)
        squared += np.float32(0.5)
        np.maximum(squared, np.float32(-0.5), out=squared)
        squared *= _take(self._from_lamina, tissue)
        return squared

    def _add_streaks(self, hu: Field, tissue: npt.NDArray[np.uint8], grid: Grid, z: float) -> None:
        fat = self._fatty(grid, z)
        # where illness replaces the fibres, every mixture of fat and muscle occurs; streaks of the healthy are thin
        if self._deep_first > 0:
            fat += self._near_lamina(tissue, grid, z)
        fat = ramp(fat, _take(self._fat_from, tissue) - np.float32(0.5 / self._fat_rise), self._fat_rise)
        fat *= np.float32(self._streak_hu) - hu
        hu += fat

    def _add_strands(self, hu: Field, tissue: npt.NDArray[np.uint8], grid: Grid, z: float, broad: Field) -> None:
        net = self._net.at(grid, z)
        spots = self._spots.at(grid, z)
        spots += np.float32(0.45) * broad
        if self._oedema > 0:
            # fluid sinks to the back and the flanks
            deep = np.clip(0.62 - _heights_of(grid) / 150.0, 0.25, 1.0).astype(np.float32)
            soaked = ridge(self._net.at(grid, z + 250.0), 0.55)
            soaked = np.maximum(soaked, ridge(net.copy(), 0.45), out=soaked)
            soaked *= np.float32(_STRANDS)
            soaked += np.float32(_SOAKED) + np.float32(9.0) * broad
            soaked *= deep
            soaked *= _take(self._soaks, tissue)
            hu += soaked
        septa = ridge(net, 0.16)
        septa *= _take(self._septa, tissue)
        hu += septa
        vessels = ramp(spots, 1.4, 1.2)
        vessels *= _take(self._vessels, tissue)
        hu += vessels


_WHOLE = 16
"""Windows begin and end at multiples of so many voxels, so that what is kept for one serves many slices."""


def _of_body(tissue: npt.NDArray[np.uint8]) -> tuple[slice, slice]:
    """The window of a slice in which there is more than air."""
    there = tissue != TISSUES["air"].id
    ends = [np.flatnonzero(there.any(axis=axis)) for axis in (1, 0)]
    return tuple(  # type: ignore[return-value]
        slice(int(end[0]) // _WHOLE * _WHOLE, -(-(int(end[-1]) + 1) // _WHOLE) * _WHOLE) if len(end) else slice(0, 0)
        for end in ends
    )


_SAMPLE = Grid(0.0, 2.3, 96, 0.0, 2.3, 96)


def _quantile(noise: Noise, share: float) -> float:
    """The value below which a share of a pattern lies."""
    sample = np.sort(np.concatenate([noise.at(_SAMPLE, 31.0 * k).ravel() for k in range(4)]))
    return float(sample[int(share * (len(sample) - 1))])


def _heights_of(grid: Grid) -> npt.NDArray[np.float64]:
    """The y of a slice's voxels, (ny,), reference mm."""
    return grid.y0 + grid.dy * np.arange(grid.ny, dtype=np.float64)


def _take(table: Field, tissue: npt.NDArray[np.uint8], out: Field | None = None) -> Field:
    """The value of every voxel's tissue; into an array of one's own numpy looks up several times faster."""
    return table.take(tissue, mode="clip", out=np.empty(tissue.shape, np.float32) if out is None else out)


def _table(values: dict[str, float]) -> Field:
    """A value for all 256 ids, 0 where none is given."""
    table = np.zeros(256, np.float32)
    for name, value in values.items():
        table[TISSUES[name].id] = value
    return table


def _means(frame: Frame, kvp: int) -> Field:
    """Mean HU of every tissue in this person, without what the patterns add."""
    person, rng = frame.person, frame.rng("hu")
    share = person.strength("contrast")
    muscle = float(rng.normal(0, 1.5))
    fat = float(rng.normal(0, 2.5))
    blood = float(rng.normal(0, 1.0))
    trabecular = max(_TRABECULAR_AT_20 - _TRABECULAR_LOSS * (person.age_years - 20), 50.0)
    trabecular /= _TRABECULAR_AT_20 - _TRABECULAR_LOSS * (_TABLE_AGE - 20)
    trabecular *= float(rng.lognormal(0, 0.13)) * (0.94 if frame.female and person.age_years > _TABLE_AGE else 1.0)
    cortex = 1 - _CORTEX_LOSS * max(person.age_years - _TABLE_AGE, 0)
    lean = (
        person.muscle_hu
        - _LEAN_LOSS * max(person.age_years - 30, 0)
        - _LEAN_LOSS_OF_ILLNESS * person.strength("myosteatosis")
    )
    agent = share * float(rng.uniform(0.85, 1.15)) * _IODINE[kvp]

    def mean(tissue: Tissue) -> float:
        own = float(rng.normal())
        enhanced = agent * (tissue.enhanced - tissue.hu)
        if tissue.texture == "muscle":
            return lean + muscle + own + enhanced
        if tissue.texture == "fat":
            return (tissue.hu + fat + own) * _FAT[kvp] + enhanced
        if tissue.texture == "cortex":
            return tissue.hu * cortex * (1 + 0.03 * own) * _CALCIUM[kvp]
        if tissue.texture == "marrow" and tissue.hu > 0:
            return tissue.hu * trabecular * (1 + 0.02 * own) * _CALCIUM[kvp]
        if tissue.texture == "stool":
            return _STOOL_MATRIX + 8 * own
        if tissue.name in _UNCHANGING or tissue.texture == "lung":
            return tissue.hu
        if tissue.name in _BLOOD:
            return tissue.hu + blood + enhanced
        return tissue.hu + (6.0 if tissue.name == "liver" else 2.0) * own + enhanced

    means = _table({tissue.name: mean(tissue) for tissue in BY_ID})
    means[TISSUES["metal"].id] = _METAL_HU[0] + (_METAL_HU[1] - _METAL_HU[0]) * person.strength("metal")
    kidney, psoas = TISSUES["kidney"].id, TISSUES["psoas_major"].id
    means[kidney] += np.float32(person.strength("kidney_on_psoas")) * (means[psoas] - means[kidney])
    return means
