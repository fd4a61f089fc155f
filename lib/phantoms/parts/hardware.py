"""What is not grown: screws and rods in the lumbar spine, a hip prosthesis, and the scanner's table under the back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lib.phantoms.canvas import Canvas
from lib.phantoms.field import skin_points
from lib.phantoms.frame import Frame
from lib.phantoms.legs import HIP_JOINT, SIDE_SIGN, Leg
from lib.phantoms.parts.femur import head_radius
from lib.phantoms.shapes import Tube
from lib.phantoms.tissues import TISSUES

_SCREW_RADIUS, _ROD_RADIUS, _SCREW_HEAD_RADIUS = 3.0, 2.75, 5.5
# A pedicle screw: to the side of the midline and to the front of the body's middle, at its head and at its tip, and up
_SCREW_HEAD, _SCREW_TIP, _SCREW_UP = (24.0, -40.0), (12.0, 5.0), 6.0

_STEM_LENGTH = 130.0
_STEM_RADII = (6.5, 7.5, 9.0, 7.5, 5.0)  # from the neck to the tip
_CUP_THICKNESS, _LINER_THICKNESS = 3.5, 6.0

_TABLE_HALF_WIDTH, _TABLE_RADIUS = 215.0, 560.0  # world mm
_TABLE_DEPTH, _SHELL_THICKNESS = 34.0, 2.5
_MATTRESS_MM = 8.0


class Hardware:
    """Metal in the spine and in one hip (condition "metal"), and the table (condition "table")."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._tubes: list[Tube] = []
        self._cup: tuple[npt.NDArray[np.float64], float] | None = None
        if frame.person.strength("metal") > 0:
            self._tubes = [*_spinal_implant(frame), *self._hip(frame)]
        self._table = _Table(frame) if frame.person.strength("table") > 0 else None

    def _hip(self, frame: Frame) -> list[Tube]:
        """Cup, head and stem of a prosthesis of one hip."""
        side = str(frame.rng("hip prosthesis").choice(["left", "right"]))
        leg, sign = Leg(frame, side), SIDE_SIGN[side]
        joint = np.array([sign * HIP_JOINT[0], HIP_JOINT[1], frame.heights["hip"]])
        self._cup = (joint, head_radius(frame) + 4.0)
        heights = frame.heights["hip"] - np.array([48.0, 90.0, 48.0 + _STEM_LENGTH])
        stem = [joint, *(np.array([*leg.shaft(z), z]) for z in heights)]
        shoulder = joint + (stem[1] - joint) * np.array([0.62, 0.62, 0.55])
        path = np.array([joint, shoulder, *stem[1:]])
        ball = head_radius(frame) + 4.0 - _CUP_THICKNESS - _LINER_THICKNESS
        return [Tube(path, np.array(_STEM_RADII)), Tube([joint, joint + np.array([0.0, 0.0, 0.1])], ball)]

    def paint(self, canvas: Canvas) -> None:
        """Draw what the slice shows of them; the table only where there is air."""
        for tube in self._tubes:
            centres, radii = tube.cut(canvas.z)
            if len(radii):
                canvas.fill(canvas.discs(centres, radii), "metal")
        if self._cup is not None:
            self._paint_cup(canvas, *self._cup)
        if self._table is not None:
            self._table.paint(canvas)

    def _paint_cup(self, canvas: Canvas, joint: npt.NDArray[np.float64], radius: float) -> None:
        """Half a shell of metal that opens to the side and downwards."""
        up = canvas.z - joint[2]
        if abs(up) >= radius:
            return
        x, y = canvas.warped(joint[None, :2])[0]
        box = canvas.box(x - radius, x + radius, y - radius, y + radius)
        across, along = canvas.positions(box)
        across, along = across - x, along - y
        squared = across**2 + along**2 + up**2
        medial = up * 0.7 - across * np.sign(joint[0]) * 0.7 + along * 0.15 > -2.0
        box.inside[...] = (squared <= radius**2) & (squared >= (radius - _CUP_THICKNESS) ** 2) & medial
        canvas.fill(box, "metal")


def _spinal_implant(frame: Frame) -> list[Tube]:
    """Pedicle screws in two neighbouring lumbar vertebrae and the two rods that join them."""
    rng = frame.rng("spinal implant")
    lumbar = [vertebra for name, vertebra in frame.vertebrae.items() if name.startswith("L")]
    first = int(rng.integers(len(lumbar) - 3, len(lumbar) - 1))
    tubes = []
    for side in (1.0, -1.0):
        heads = []
        for vertebra in lumbar[first : first + 2]:
            size = vertebra.a / 25.0
            head = vertebra.at(side * _SCREW_HEAD[0] * size, _SCREW_HEAD[1] * size, _SCREW_UP)
            tip = vertebra.at(side * _SCREW_TIP[0] * size, _SCREW_TIP[1] * size, _SCREW_UP - 1.0)
            heads.append(head)
            tubes += [
                Tube([tip, head], _SCREW_RADIUS),
                Tube([head, head + 0.12 * (head - tip)], _SCREW_HEAD_RADIUS),
            ]
        over = 8.0 * (heads[0] - heads[1]) / np.sqrt(((heads[0] - heads[1]) ** 2).sum())
        behind = np.array([0.0, -4.0, 0.0])
        tubes.append(Tube([heads[1] - over + behind, heads[0] + over + behind], _ROD_RADIUS))
    return tubes


class _Table:
    """A shallow trough of a thin carbon shell around foam; it follows neither the body's size nor its deformation."""

    def __init__(self, frame: Frame) -> None:
        scale = frame.width_scale
        self._half, self._radius = _TABLE_HALF_WIDTH / scale, _TABLE_RADIUS / scale
        self._depth, self._shell = _TABLE_DEPTH / scale, _SHELL_THICKNESS / scale
        heights = frame.heights
        skin = skin_points(frame, heights["mid_thigh"], heights["shoulder"])
        on_it = skin[np.abs(skin[:, 0]) < self._half]
        self._top = float((on_it[:, 1] - self._rise(on_it[:, 0])).min()) - _MATTRESS_MM / scale

    def _rise(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """By how much the surface lies higher at x than in the middle."""
        return x**2 / (2 * self._radius)

    def paint(self, canvas: Canvas) -> None:
        """Shell and foam, where there is air."""
        sag = float(self._rise(np.array([self._half]))[0])
        box = canvas.box(-self._half, self._half, self._top - self._depth, self._top + sag)
        x, y = canvas.positions(box)
        surface = self._top + self._rise(x)
        # the underside is rounder, so that the table thins out to its edges
        bottom = surface - self._depth * (1 - (x / self._half) ** 2) - 2 * self._shell
        air = canvas.tissue[box.window] == TISSUES["air"].id
        table = air & (y <= surface) & (y >= bottom)
        foam = table & (y <= surface - self._shell) & (y >= bottom + self._shell)
        box.inside[...] = table & ~foam
        canvas.fill(box, "table_shell")
        box.inside[...] = foam
        canvas.fill(box, "table_foam")
