"""A drawn axial slice through a lumbar vertebra with exact labels, for the tests of the cold starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.images import CTImage

PSOAS, PARASPINAL, WALL = 1, 2, 3
MUSCLE, VISCERAL, SUBCUTANEOUS = 1, 2, 3
SKIN_MM = 2.0


@dataclass(frozen=True, kw_only=True)
class TrunkSlice:
    """The drawn slice (one slice, canonical order) and its labels (x, y)."""

    image: CTImage
    muscle: npt.NDArray[np.uint8]
    tissue: npt.NDArray[np.uint8]
    body: npt.NDArray[np.bool_]


def trunk_slice(
    *,
    mm: float = 1.0,
    size: int = 440,
    fat_mm: float = 20.0,
    wall_share: float = 1.0,
    muscle_hu: float = 55.0,
    cavity_hu: float = -100.0,
    kidney_hu: float = 35.0,
    vessel_hu: float = 40.0,
    disc: bool = False,
    liver: bool = True,
    noise: float = 0.0,
    tilt_deg: float = 0.0,
    shift_mm: tuple[float, float] = (0.0, 0.0),
    arms: bool = False,
    table: bool = False,
) -> TrunkSlice:
    """Draw the slice; mm are pixels, size the field of view in mm, the vertebra's centre lies a little behind it."""
    count = round(size / mm)
    at = (np.arange(count) + 0.5) * mm - size / 2
    field_x, field_y = np.meshgrid(at - shift_mm[0], at - shift_mm[1], indexing="ij")
    tilt = np.deg2rad(tilt_deg)
    x = np.cos(tilt) * field_x - np.sin(tilt) * field_y
    y = np.sin(tilt) * field_x + np.cos(tilt) * field_y + 30.0
    off = np.abs(x)

    def ellipse(cx: float, cy: float, a: float, b: float, *, both: bool = False) -> npt.NDArray[np.bool_]:
        return (((off if both else x) - cx) / a) ** 2 + ((y - cy) / b) ** 2 <= 1

    body = ellipse(0, 30, 150 + fat_mm + SKIN_MM, 100 + fat_mm + SKIN_MM)
    under_skin = ellipse(0, 30, 150 + fat_mm, 100 + fat_mm)
    outer = ellipse(0, 30, 150, 100)
    angle = np.degrees(np.arctan2(off, -(y - 30)))
    thick = np.interp(angle, [40, 50, 58, 80, 150, 160, 172, 175], [4, 3, 4, 15, 14, 9, 9, 0.5]) * wall_share
    inner = (x / (150 - thick)) ** 2 + ((y - 30) / (100 - thick)) ** 2 <= 1

    erector = (ellipse(33, -44, 32, 24, both=True) | ellipse(55, -30, 17, 8, both=True)) & outer
    wall = outer & ~inner & (angle > 52) & ~erector
    psoas = ellipse(39, -4, 13, 14, both=True)
    vertebra = ellipse(0, 0, 24, 17)
    canal = ellipse(0, -26, 9, 8)
    arch = ellipse(0, -26, 13, 12) & ~canal
    spinous = (off < 3) & (y < -36) & (y > -60)
    transverse = (off > 10) & (off < 42) & (np.abs(y + 24) < 3)
    cortex = arch | spinous | (transverse & (not disc))

    hu = np.full(x.shape, -1000.0)
    if table:
        hu[(field_y + shift_mm[1] < -115 - fat_mm) & (field_y + shift_mm[1] > -119 - fat_mm)] = 150
    if arms:
        arm = ((off - 195 - fat_mm) / 42) ** 2 + ((y - 10) / 48) ** 2
        hu[arm <= 1] = -95
        hu[arm <= 0.6] = 50
        hu[arm <= 0.06] = 800
    hu[body] = 30
    hu[under_skin] = -105
    hu[outer & inner] = cavity_hu
    organs = ellipse(72, 2, 22, 28, both=True)
    hu[organs & inner] = kidney_hu
    if liver:
        hu[ellipse(95, 55, 60, 45) & inner] = 60
    hu[ellipse(-105, 50, 30, 26) & inner] = 30
    for cx in (-13, 13):
        hu[ellipse(cx, 30, 10, 10)] = vessel_hu
    hu[ellipse(-20, 85, 20, 16)] = 30
    hu[ellipse(-20, 85, 16, 12)] = -900
    muscle = np.zeros(x.shape, dtype=np.uint8)
    muscle[wall], muscle[erector], muscle[psoas] = WALL, PARASPINAL, PSOAS
    bone = vertebra | canal | cortex
    muscle[bone] = 0
    # Behind the muscles of the back, where the trunk is hollow, lies subcutaneous fat.
    hollow = outer & ~erector & ~wall & (y < np.where(off < 60, -44, -34)) & (angle < 52)
    hu[hollow] = -105
    hu[muscle > 0] = muscle_hu
    hu[canal] = 20
    hu[vertebra] = 95 if disc else 550
    if not disc:
        hu[ellipse(0, 0, 21, 14)] = 180
    hu[cortex] = 600
    tissue = np.zeros(x.shape, dtype=np.uint8)
    tissue[(under_skin & ~outer) | (hollow & ~bone)] = SUBCUTANEOUS
    tissue[outer & inner & (hu < -50) & (hu > -190) & (muscle == 0) & ~bone & ~hollow] = VISCERAL
    tissue[muscle > 0] = MUSCLE
    hu = hu + np.random.default_rng(7).normal(0.0, noise, hu.shape) if noise else hu
    affine = np.array([[mm, 0, 0, -50.0], [0, mm, 0, 20.0], [0, 0, 3.0, 7.0], [0, 0, 0, 1]])
    image = CTImage(hu=hu[..., None].astype(np.float32), affine=affine)
    return TrunkSlice(image=image, muscle=muscle, tissue=tissue, body=body)
