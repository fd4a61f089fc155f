"""How the muscles of hip and thigh share the room inside the fascia, like the pieces of a jigsaw.

In a slice every muscle is a thick line through a few knots with radii. A voxel goes to the muscle whose line it is
nearest to, counted from the line's surface, so muscles meet in smooth borders wherever they are; where two are about
as near, a plane of fat stays between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Canvas, Mask, Points
from lib.phantoms.frame import Frame
from lib.phantoms.legs import Leg
from lib.phantoms.shapes import Curve
from lib.phantoms.tissues import TISSUES
from lib.phantoms.trunk import ANGLES, Trunk

Knots = tuple[tuple[float, float, float], ...]
"""x and y of the right leg, reference mm, and radius, mm, of the knots of a muscle's line in a slice."""

FAT = "intermuscular_fat"
_PLANE_MM = 1.1  # fat between two healthy muscles
_PLANE_ATROPHIED_MM = 5.0  # what is added when all muscle is gone
_MIN_RADIUS_MM = 0.6
_HIP_TO_THIGH_MM = 40.0  # below the hip joint the fascia of the thigh gradually takes over from that of the trunk


@dataclass(frozen=True)
class Course:
    """A muscle from its origin to its insertion.

    Attributes:
        stations: z (reference mm with five lumbar vertebrae) to knots, as many at every station.
        reach: how far, mm, the muscle spreads beyond its radii where no neighbour claims the room.
    """

    stations: Mapping[float, Knots]
    reach: float = 6.0


class Tiling:
    """One side's muscles, ready to be cut.

    Args:
        frame: the individual.
        side: "left" or "right".
        courses: tissue to course; the tissue "intermuscular_fat" keeps room free, such as that of a nerve, and any
            key may carry a suffix after a colon to tell several apart.
    """

    def __init__(self, frame: Frame, side: str, courses: Mapping[str, Course]) -> None:
        self._leg = Leg(frame, side)
        self._trunk = Trunk(frame)
        self._thigh_alone = frame.heights["hip"] - _HIP_TO_THIGH_MM
        rng = frame.rng(f"hip and thigh muscles {side}")
        self._muscles = [_Muscle(frame, name, course, rng) for name, course in courses.items()]

    def paint(self, canvas: Canvas, over: tuple[str, ...]) -> None:
        """Draw the muscles of a slice over some tissues."""
        z = canvas.z
        muscles = [(muscle, knots) for muscle in self._muscles if (knots := muscle.knots(z)) is not None]
        if not muscles:
            return
        growth = self._leg.growth(z)
        placed = []
        for muscle, knots in muscles:
            centres = self._inside_trunk(self._leg.place(knots[:, :2], z), knots[:, 2], z)
            placed.append((muscle, canvas.warped(centres), knots[:, 2] * growth, muscle.reach * growth))
        low = np.min([(centres - (radii + reach)[:, None]).min(axis=0) for _, centres, radii, reach in placed], axis=0)
        high = np.max([(centres + (radii + reach)[:, None]).max(axis=0) for _, centres, radii, reach in placed], axis=0)
        room = canvas.box(low[0], high[0], low[1], high[1])
        if not room.inside.size:
            return
        x, y = canvas.positions(room)
        contest = _Contest(room, x.astype(np.float32), y.astype(np.float32))
        for muscle, centres, radii, reach in placed:
            contest.enter(canvas, muscle.tissue, centres, radii, reach)
        plane = _PLANE_MM + _PLANE_ATROPHIED_MM * max(1.0 - growth, 0.0)
        won = contest.won(plane) & canvas.is_any(room, over)
        canvas.tissue[room.window][won] = contest.winner[won]

    def _inside_trunk(self, centres: Points, radii: npt.NDArray[np.float64], z: float) -> Points:
        """Knots at the hip drawn towards the middle until they lie under the fascia of this trunk."""
        share = min(max((z - self._thigh_alone) / _HIP_TO_THIGH_MM, 0.0), 1.0)
        if not share:
            return centres
        middle = np.array(self._trunk.centre(z))
        away = centres - middle
        distance = np.maximum(np.sqrt((away**2).sum(axis=1)), 1.0)
        fascia = np.sqrt(((self._trunk.outer(z) - middle) ** 2).sum(axis=1))
        room = np.interp(np.arctan2(away[:, 1], away[:, 0]), ANGLES, fascia, period=2 * np.pi) - 0.8 * radii - 1.0
        pulled = np.minimum(room / distance, 1.0)[:, None]
        return middle + away * (1.0 - share + share * pulled)  # type: ignore[no-any-return]


class _Muscle:
    """A course with the individual's sizes and places."""

    def __init__(self, frame: Frame, name: str, course: Course, rng: np.random.Generator) -> None:
        tissue = name.partition(":")[0]
        self.tissue = 0 if tissue == FAT else TISSUES[tissue].id
        self.reach = course.reach
        self._size = float(rng.uniform(0.93, 1.07))
        self._shift = rng.uniform(-1.3, 1.3, 2)
        shift = frame.pelvis_shift
        heights = sorted(course.stations)
        self._low, self._high = heights[0] + shift, heights[-1] + shift
        stations = {z + shift: np.array(course.stations[z], dtype=np.float64).ravel() for z in heights}
        self._curve = Curve({z: tuple(values) for z, values in stations.items()})

    def knots(self, z: float) -> npt.NDArray[np.float64] | None:
        """(k, 3) x, y, radius in a slice of the right side, or None where the muscle is not."""
        if not self._low < z < self._high:
            return None
        knots = self._curve(z).reshape(-1, 3)
        knots[:, :2] += self._shift
        knots[:, 2] *= self._size
        return knots if knots[:, 2].max() > _MIN_RADIUS_MM else None


class _Contest:
    """Which muscle is nearest to each voxel of a window, and how far away the best two are."""

    def __init__(self, room: Mask, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> None:
        self._room, self._x, self._y = room, x, y
        self._best = np.full(room.inside.shape, np.inf, np.float32)
        self._second = np.full(room.inside.shape, np.inf, np.float32)
        self.winner: npt.NDArray[np.uint8] = np.zeros(room.inside.shape, np.uint8)

    def enter(
        self,
        canvas: Canvas,
        tissue: int,
        centres: npt.NDArray[np.float64],
        radii: npt.NDArray[np.float64],
        reach: float,
    ) -> None:
        """Let a muscle compete for the voxels within its reach."""
        low, high = (centres - (radii + reach)[:, None]).min(axis=0), (centres + (radii + reach)[:, None]).max(axis=0)
        box = canvas.box(low[0], high[0], low[1], high[1])
        i, j = box.i0 - self._room.i0, box.j0 - self._room.j0
        window = slice(i, i + box.inside.shape[0]), slice(j, j + box.inside.shape[1])
        distance = _distance(self._x[window[0]], self._y[:, window[1]], centres, radii)
        distance[distance > reach] = np.inf
        best, second = self._best[window], self._second[window]
        wins = distance < best
        np.minimum(second, np.maximum(distance, best), out=second)
        np.minimum(best, distance, out=best)
        self.winner[window][wins] = tissue

    def won(self, plane: float) -> npt.NDArray[np.bool_]:
        """Where a muscle is the nearest by more than the plane of fat between two."""
        claimed = self._winner_is_muscle() & (self._best < np.inf)
        claimed[claimed] = self._second[claimed] - self._best[claimed] > np.float32(plane)
        return claimed

    def _winner_is_muscle(self) -> npt.NDArray[np.bool_]:
        return self.winner > 0  # type: ignore[no-any-return]


def _distance(
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.float32],
    centres: npt.NDArray[np.float64],
    radii: npt.NDArray[np.float64],
) -> npt.NDArray[np.float32]:
    """Distance of voxels from the surface of a line through knots whose radii change on the way; negative within."""
    (cx, cy), r = centres.astype(np.float32).T, radii.astype(np.float32)
    if len(r) == 1:
        return np.sqrt((x - cx[0]) ** 2 + (y - cy[0]) ** 2) - r[0]
    nearest: npt.NDArray[np.float32] | None = None
    for k in range(len(r) - 1):
        ax, ay = cx[k + 1] - cx[k], cy[k + 1] - cy[k]
        squared = max(ax * ax + ay * ay, np.float32(1e-3))
        dx, dy = x - cx[k], y - cy[k]
        along = np.clip(dx * (ax / squared) + dy * (ay / squared), np.float32(0), np.float32(1))
        px, py = dx - along * ax, dy - along * ay
        found = np.sqrt(px * px + py * py) - (r[k] + along * (r[k + 1] - r[k]))
        nearest = found if nearest is None else np.minimum(nearest, found)
    assert nearest is not None
    return nearest
