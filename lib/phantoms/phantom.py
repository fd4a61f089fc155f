"""A digital phantom: a CT of a person who does not exist, with exact labels for every task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel import orientations

from lib.anatomy.schemas import L3_SLICE
from lib.images.ct import CTImage
from lib.images.facts import PatientFacts
from lib.phantoms.appearance import Appearance
from lib.phantoms.body import Body
from lib.phantoms.calibration import calibrate
from lib.phantoms.canvas import Grid
from lib.phantoms.field import FieldOfView, field_of_view
from lib.phantoms.frame import Frame, make_frame
from lib.phantoms.person import CONDITIONS, Person, draw_person
from lib.phantoms.scanner import Scanner, acquire, draw_scanner
from lib.phantoms.tissues import SIDES, TISSUES, ids, label_table


@dataclass(frozen=True)
class Region:
    """A part of the body that is scanned: from one landmark to another, with the tasks whose labels it holds.

    Attributes:
        top: landmark or vertebra, and mm above it (above the superior endplate of a vertebra).
        bottom: the same.
        tasks: whose labels it holds.
        single: whether it is scanned in one slice, as thick as the scanner's.
    """

    top: tuple[str, float]
    bottom: tuple[str, float]
    tasks: tuple[str, ...]
    single: bool = False


_THICK_MM = 4.0
"""Slices thicker than this show partial volume."""
_CREST_MM, _MARK_MM = 6.0, 3.0
"""How much of a crest is marked, and of a transitional vertebra above and below its middle."""
_L3_TASKS = ("l3_muscle", "l3_tissue", "body_composition")
_LUMBAR_TASKS = ("l3_slice", "l3_muscle", "l3_tissue", "body_composition")
REGIONS: dict[str, Region] = {
    "abdomen": Region(("T10", 4), ("acetabulum_top", 0), _LUMBAR_TASKS),
    "torso": Region(("chin", -15), ("mid_thigh", 0), (*_LUMBAR_TASKS, "thigh_muscles")),
    "l3": Region(("l3_endplate", 0), ("l3_endplate", 0), _L3_TASKS, single=True),
    "thigh": Region(("iliac_crest", -20), ("knee", -30), ("body_composition", "thigh_muscles")),
    "whole_body": Region(("vertex", 10), ("sole", -5), (*_LUMBAR_TASKS, "thigh_muscles")),
}
_LUMBAR_ONLY = ("l3_muscle", "l3_tissue")
"""Tasks whose structures are only defined beside the lumbar vertebrae."""


@dataclass(frozen=True)
class Level:
    """Where a vertebral body lies: the middle of its endplates, (x, y, z) in RAS+ world mm."""

    superior_mm: tuple[float, float, float]
    inferior_mm: tuple[float, float, float]


class Phantom:
    """A phantom; the same arguments give the same voxels on every machine.

    Attributes:
        seed: of everything that is left to chance.
        region: a key of REGIONS.
        scanner: how it is scanned.
    """

    def __init__(
        self,
        seed: int,
        region: str = "abdomen",
        *,
        person: Person | None = None,
        nearest: bool = False,
        conditions: Mapping[str, float] | None = None,
        scanner: Scanner | None = None,
        shape: tuple[int, int, int] | None = None,
    ) -> None:
        """Decide on person, scanner and geometry; voxels are made when they are first asked for.

        Args:
            seed: 0 and up; everything that is left to chance follows from it.
            region: what is scanned, a key of REGIONS.
            person: who is scanned; by chance if left out.
            nearest: whether a person whose areas cannot be drawn is replaced by the nearest who can, not refused.
            conditions: replaces the conditions of the person, name to strength in 0 to 1.
            scanner: how it is scanned; by chance if left out.
            shape: number of voxels (x, y, z); the region is divided by it. Left out: the scanner's.

        Raises:
            ValueError: an argument that makes no phantom, with the reason.
        """
        if region not in REGIONS:
            raise ValueError(f"There is no region {region!r}; there are {', '.join(REGIONS)}.")
        if seed < 0:
            raise ValueError(f"A seed is 0 or more, got {seed}.")
        self.seed, self.region = seed, region
        self._exactly = person is not None and not nearest
        self._wanted = person or draw_person(np.random.Generator(np.random.PCG64([seed, 1])))
        if conditions is not None:
            self._wanted = replace(self._wanted, conditions=dict(conditions))
        for name, strength in self._wanted.conditions.items():
            if name not in CONDITIONS:
                raise ValueError(f"There is no condition {name!r}; there are {', '.join(CONDITIONS)}.")
            if not 0 <= strength <= 1:
                raise ValueError(f"The strength of {name} is 0 to 1, got {strength:g}.")
        self.scanner = scanner or draw_scanner(np.random.Generator(np.random.PCG64([seed, 2])))
        if shape is not None and (
            len(shape) != 3 or not all(8 <= n <= 2048 for n in shape[: 2 if self._single else 3])
        ):
            raise ValueError(f"A shape is three numbers from 8 to 2048, got {shape}.")
        if shape is not None and self._single and shape[2] != 1:
            raise ValueError(f"The region {region} is a single slice, not {shape[2]}.")
        self._shape_wanted = shape

    @cached_property
    def frame(self) -> Frame:
        """Landmarks of the body, reference mm, calibrated so that the areas are the person's."""
        return self._calibrated[0]

    @cached_property
    def person(self) -> Person:
        """Who is scanned, with areas as they are drawn.

        Raises:
            ValueError: the areas of the person that was asked for cannot be drawn, with the nearest that can.
        """
        missed = self._calibrated[1]
        if missed and self._exactly:
            reasons = ", ".join(
                f"{name} {getattr(self._wanted, name):g} (nearest {value:.1f})" for name, value in missed.items()
            )
            raise ValueError(f"This body cannot be drawn: {reasons}.")
        return replace(self._wanted, **missed)

    @cached_property
    def _calibrated(self) -> tuple[Frame, dict[str, Any]]:
        arms = self.region == "whole_body" or self._wanted.strength("arms_beside") > 0
        frame = make_frame(self._wanted, self.seed, arms_beside=arms)
        return calibrate(frame, thighs="thigh_muscles" in self.tasks)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks whose labels the region holds."""
        return REGIONS[self.region].tasks

    @property
    def _single(self) -> bool:
        return REGIONS[self.region].single

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Voxels (x, y, z) in RAS order."""
        if self._shape_wanted is not None:
            return self._shape_wanted
        count = int(np.ceil(self._range_mm / self.scanner.slice_mm))
        return self.scanner.matrix, self.scanner.matrix, max(count, 1)

    @property
    def _ends(self) -> tuple[float, float]:
        """Bottom and top of the region, reference mm."""
        region = REGIONS[self.region]
        top, bottom = (
            (self.frame.vertebrae[name].superior_z if name in self.frame.vertebrae else self.frame.heights[name]) + more
            for name, more in (region.top, region.bottom)
        )
        return bottom, top

    @property
    def _range_mm(self) -> float:
        bottom, top = self._ends
        return (top - bottom) * self.frame.height_scale

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in world mm along x, y, z."""
        side = self.scanner.field_mm or self._field.side_mm
        divided = self._shape_wanted is not None and not self._single
        dz = self._range_mm / self.shape[2] if divided else self.scanner.slice_mm
        return side / self.shape[0], side / self.shape[1], dz

    @cached_property
    def _field(self) -> FieldOfView:
        return field_of_view(self.frame, *self._ends, circle=self.scanner.circle)

    @cached_property
    def _grid(self) -> Grid:
        scale = self.frame.width_scale
        (dx, dy, _), (nx, ny, _) = self.spacing, self.shape
        x, y = self._field.x, self._field.y
        return Grid(x - (nx - 1) / 2 * dx / scale, dx / scale, nx, y - (ny - 1) / 2 * dy / scale, dy / scale, ny)

    @cached_property
    def _heights(self) -> npt.NDArray[np.float64]:
        """The z of the slices, reference mm, from foot to head."""
        dz = self.spacing[2] / self.frame.height_scale
        first = sum(self._ends) / 2 - dz * (self.shape[2] - 1) / 2
        return first + dz * np.arange(self.shape[2])  # type: ignore[no-any-return]

    @cached_property
    def _body(self) -> Body:
        return Body(self.frame)

    @cached_property
    def _voxels(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int16]]:
        """Tissue ids and HU, (x, y, z) in RAS order."""
        body, appearance, grid = self._body, Appearance(self.frame, kvp=self.scanner.kvp), self._grid
        tissue = np.empty(self.shape[::-1][:1] + self.shape[:2], np.uint8)
        ideal = np.empty(tissue.shape, np.float32)
        for k, z in enumerate(self._heights):
            tissue[k] = body.slice(grid, float(z)).tissue
            ideal[k] = appearance.hu(tissue[k], grid, float(z))
        if self.spacing[2] > _THICK_MM:
            self._average_over_thickness(ideal, appearance)
        rng = np.random.Generator(np.random.PCG64([self.seed, 3]))
        hu = acquire(ideal.transpose(1, 2, 0), scanner=self.scanner, spacing=self.spacing, rng=rng)
        return tissue.transpose(1, 2, 0), hu

    def _average_over_thickness(self, ideal: npt.NDArray[np.float32], appearance: Appearance) -> None:
        """Mix half of each slice's middle with a quarter of either face, which neighbouring slices share."""
        half = self.spacing[2] / self.frame.height_scale / 2

        def hu(z: float) -> npt.NDArray[np.float32]:
            return appearance.hu(self._body.slice(self._grid, z).tissue, self._grid, z)

        below = hu(float(self._heights[0]) - half)
        for k, z in enumerate(self._heights):
            above = hu(float(z) + half)
            ideal[k] *= np.float32(0.5)
            below += above
            below *= np.float32(0.25)
            ideal[k] += below
            below = above

    @cached_property
    def _pose(self) -> npt.NDArray[np.float64]:
        """How the patient lies in the scanner: the body's own mm to RAS+ world mm, turned around the body's origin."""
        pose = np.eye(4)
        for axis, degrees in enumerate(self.scanner.oblique_deg):
            c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
            i, j = (axis + 1) % 3, (axis + 2) % 3
            turn = np.eye(4)
            turn[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
            pose = turn @ pose
        return pose

    def _world(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """A point in reference mm as RAS+ world mm, moved as the body's own deformation moves it."""
        moved = self._body.warped(np.array([[x, y]]), z)[0]
        scale = self.frame.width_scale
        point = self._pose @ [moved[0] * scale, moved[1] * scale, z * self.frame.height_scale, 1.0]
        return float(point[0]), float(point[1]), float(point[2])

    @cached_property
    def levels(self) -> dict[str, Level]:
        """The vertebrae T1 to S1 that the person has, those out of the image too, from the head down."""
        found = {}
        for name, vertebra in self.frame.vertebrae.items():
            if f"vertebra_{name}" in L3_SLICE:
                lean, roll = float(np.sin(vertebra.tilt)), float(np.sin(vertebra.roll))
                half = vertebra.height / 2
                ends = [
                    self._world(vertebra.x + side * half * roll, vertebra.y + side * half * lean, z)
                    for side, z in ((1, vertebra.superior_z), (-1, vertebra.inferior_z))
                ]
                found[name] = Level(ends[0], ends[1])
        return found

    @property
    def l3_endplate_mm(self) -> tuple[float, float, float]:
        """The middle of the inferior endplate of L3, RAS+ world mm."""
        return self.levels["L3"].inferior_mm

    @property
    def l3_slice(self) -> int:
        """The slice through the inferior endplate of L3, counted along the image's own foot-to-head axis.

        Raises:
            ValueError: L3 is not in the region.
        """
        if "l3_muscle" not in self.tasks:
            raise ValueError(f"A phantom of the {self.region} does not hold L3.")
        nearest = int(np.abs(self._heights - self.frame.vertebrae["L3"].inferior_z).argmin())
        return self.image.slice_from_canonical(nearest)

    def _affine(self) -> npt.NDArray[np.float64]:
        """RAS voxel indices to RAS+ world mm."""
        affine = np.diag([*self.spacing, 1.0])
        scale = self.frame.width_scale
        affine[:3, 3] = self._grid.x0 * scale, self._grid.y0 * scale, self._heights[0] * self.frame.height_scale
        return self._pose @ affine

    @cached_property
    def image(self) -> CTImage:
        """The CT, in the scanner's orientation."""
        person = self.person
        facts = PatientFacts(
            sex=person.sex, age_years=person.age_years, height_m=person.height_m, weight_kg=person.weight_kg,
            contrast=person.strength("contrast") > 0, phantom=True,
        )  # fmt: skip
        turn = self._turn
        affine = self._affine() @ orientations.inv_ornt_aff(turn, self.shape)
        return CTImage(hu=orientations.apply_orientation(self._voxels[1], turn), affine=affine, facts=facts)

    @property
    def _turn(self) -> npt.NDArray:
        return orientations.ornt_transform(  # type: ignore[no-any-return]
            orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(self.scanner.orientation)
        )

    def label(self, task: str) -> npt.NDArray[np.uint8]:
        """The exact label of a task, in the voxel order of :attr:`image`.

        Raises:
            ValueError: the region does not hold it.
        """
        if task not in self.tasks:
            raise ValueError(f"A phantom of the {self.region} holds {', '.join(self.tasks)}, not {task!r}.")
        label = label_table(task)[self._voxels[0]]
        if task in _LUMBAR_ONLY:
            lumbar = [v for name, v in self.frame.vertebrae.items() if name.startswith("L")]
            label[:, :, (self._heights > lumbar[0].superior_z) | (self._heights < lumbar[-1].inferior_z)] = 0
        if task == "l3_slice":
            self._mark_landmarks(label)
        return orientations.apply_orientation(label, self._turn)  # type: ignore[no-any-return]

    def _mark_landmarks(self, label: npt.NDArray[np.uint8]) -> None:
        """Add to a label in RAS order what is no tissue of its own: last ribs, crests, a transitional vertebra."""
        tissue, variant = self._voxels[0], self.person.variant
        last = 13 if variant.rib_l1 else 11 if variant.rib_12 == "absent" else 12
        label[ids(tuple(f"rib_{last}_{side}" for side in SIDES))[tissue]] = L3_SLICE.ids["last_rib"]
        crest = max(1, round(_CREST_MM / self.spacing[2]))
        middle = int(-self._grid.x0 / self._grid.dx)
        for side in (slice(None, middle), slice(middle, None)):
            bone = ids(("hip_bone_cortex", "hip_bone_marrow"))[tissue[side]]
            top = int(np.flatnonzero(bone.any(axis=(0, 1)))[-1]) if bone.any() else len(self._heights)
            if top < len(self._heights) - 1:
                label[side, :, top - crest + 1 : top + 1][bone[:, :, top - crest + 1 : top + 1]] = L3_SLICE.ids[
                    "iliac_crest"
                ]
        if variant.transition != "none":
            level = "S1" if variant.transition == "lumbarisation" else variant.levels[-2]
            inside = ids((f"{level}_marrow",))[tissue]
            away = np.abs(self._heights - self.frame.vertebrae[level].z)
            inside[:, :, away > max(_MARK_MM, away.min())] = False
            label[inside] = L3_SLICE.ids["transitional_vertebra"]

    def structure(self, *names: str) -> npt.NDArray[np.bool_]:
        """Where tissues of the tissue table are, in the voxel order of :attr:`image`."""
        wrong = [name for name in names if name not in TISSUES]
        if wrong:
            raise ValueError(f"There is no tissue {wrong[0]!r}.")
        return orientations.apply_orientation(ids(tuple(names))[self._voxels[0]], self._turn)  # type: ignore[no-any-return]
