"""The task table: every task once, and all that infer tasks, strategies and trainers are made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lib.anatomy import schemas
from lib.anatomy.schemas import LabelSchema
from lib.cold_start import answers
from lib.cold_start.answers import Answer, ChosenSlice, FindLevels, choose_slice
from lib.cold_start.levels import find_levels
from lib.images import CTImage
from lib.refusals import Refusal

ALL = "all"
CONTRASTS = (ALL, "contrast", "plain")
"""On which CTs a model is trained: all, or those that are known to be with or without contrast agent."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One row.

    Attributes:
        name: as in ``/info/``, ``/infer/NAME`` and the folder of its models.
        description: what an annotator reads in the client's list.
        schema: what its labels hold.
        dimension: 2 where one slice is labelled, 3 where the volume is.
        network: what kind of network is trained for it, ``None`` where none is yet; ``nnunet_2d`` learns slices,
            ``levels`` where the vertebrae are, ``volume`` learns volumes.
        networks: what ``params.network`` may be, the usual one first; empty where there is no choice.
        by_contrast: whether CTs with and without contrast agent may be trained on apart (``params.contrast``).
        folds: how many networks are trained.
        parts: for a task that learns nothing itself, those whose models answer it on one slice, in the order in which
            they are painted, the last on top; a part without a model is answered by its own cold start.
        cold_start: answers without a trained model; takes the image in canonical order and, for a task on one slice,
            the slice. ``None`` where there is no such method: the task's labels are taken, but it answers nothing yet.
    """

    name: str
    description: str
    schema: LabelSchema
    dimension: int
    cold_start: Callable[..., Answer] | None
    network: Literal["nnunet_2d", "levels", "volume"] | None = None
    networks: tuple[str, ...] = ()
    by_contrast: bool = False
    folds: int = 5
    parts: tuple[str, ...] = ()

    @property
    def on_slice(self) -> bool:
        """Whether the answer is about one slice, which is searched for or chosen by hand."""
        return self.dimension == 2 or "l3_slice" in self.schema

    def variant(self, network: str = "", contrast: str = "") -> str:
        """The variant of the task's models, as the registry names it; "" for the usual one.

        Args:
            network: one of :attr:`networks`, "" for the usual one.
            contrast: one of :data:`CONTRASTS`, "" for all.

        Raises:
            Refusal: the task has no such choice.
        """
        if network and network not in self.networks:
            there = f"there are {', '.join(self.networks)}" if self.networks else "it has one only"
            raise Refusal(f"There is no network {network!r} for {self.name}; {there}.")
        if contrast not in ("", *CONTRASTS):
            raise Refusal(f"contrast {contrast!r} is not one of {', '.join(CONTRASTS)}.")
        if contrast not in ("", ALL) and not self.by_contrast:
            raise Refusal(f"{self.name} is not trained by contrast; leave contrast out.")
        chosen = ("" if network in self.networks[:1] else network, "" if contrast == ALL else contrast)
        return "-".join(filter(None, chosen))

    def answer(self, image: CTImage, slice_index: int | None = None, find: FindLevels = find_levels) -> Answer:
        """Answer without a model of this task.

        Args:
            image: in canonical order.
            slice_index: the slice chosen by hand, in canonical order, or ``None`` to search.
            find: searches.

        Raises:
            Refusal: there is no method for this task yet, or the image does not allow an answer.
        """
        return self.answer_on(image, choose_slice(image, slice_index, find) if self.on_slice else None)

    def answer_on(self, image: CTImage, chosen: ChosenSlice | None) -> Answer:
        """The same on a slice that was chosen; ``None`` for a task on volumes.

        Raises:
            Refusal: there is no method for this task yet, or the image does not allow an answer.
        """
        if self.cold_start is None:
            raise Refusal(f"{self.name} has no trained model yet and cannot be answered without one.")
        return self.cold_start(image) if chosen is None else self.cold_start(image, chosen)


_ROWS = (
    Task(
        name="l3_muscle",
        description="Psoas, paraspinal and abdominal wall muscles on the L3 slice (Yu 2026)",
        schema=schemas.L3_MUSCLE,
        dimension=2,
        cold_start=answers.answer_l3_muscle,
        network="nnunet_2d",
    ),
    Task(
        name="l3_tissue",
        description="Skeletal muscle, visceral and subcutaneous fat on the L3 slice (Ha 2021)",
        schema=schemas.L3_TISSUE,
        dimension=2,
        cold_start=answers.answer_l3_tissue,
        network="nnunet_2d",
    ),
    Task(
        name="sarcopenia",
        description="From the CT to the L3 slice, its muscle and fat, and the published cut-offs",
        schema=schemas.SARCOPENIA,
        dimension=2,
        cold_start=answers.answer_sarcopenia,
        parts=("l3_tissue", "l3_muscle"),
    ),
    Task(
        name="l3_slice",
        description="The slice of L3's inferior endplate, and the vertebral levels (Ha 2021)",
        schema=schemas.L3_SLICE,
        dimension=3,
        cold_start=answers.answer_l3_slice,
        network="levels",
    ),
    Task(
        name="body_composition",
        description="Seven tissues in every voxel (Lee 2021)",
        schema=schemas.BODY_COMPOSITION,
        dimension=3,
        cold_start=answers.answer_body_composition,
        network="volume",
        networks=("3d", "2d"),
        by_contrast=True,
        folds=3,
    ),
    Task(
        name="thigh_muscles",
        description="27 muscles of hip and thigh, femur and iliac bone (Kim 2024)",
        schema=schemas.THIGH_MUSCLES,
        dimension=3,
        cold_start=answers.answer_thigh_muscles,
        network="volume",
        networks=("unetr", "unet_3d"),
    ),
)

TASKS: dict[str, Task] = {task.name: task for task in _ROWS}
ANSWERING_TASKS: tuple[str, ...] = tuple(name for name, task in TASKS.items() if task.cold_start)
STORED_TASKS: tuple[str, ...] = tuple(name for name in TASKS if name in schemas.STORED_SCHEMAS)
TRAINABLE_TASKS: tuple[str, ...] = tuple(name for name, task in TASKS.items() if task.network)
SLICE_TASKS: tuple[str, ...] = tuple(name for name, task in TASKS.items() if task.network == "nnunet_2d")
DEFAULT_TASK = "l3_muscle"
