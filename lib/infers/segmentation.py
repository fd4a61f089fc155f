"""One MONAI Label infer task, for every row of the task table."""

from __future__ import annotations

import base64
import getpass
import itertools
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from lib.anatomy.schemas import BODY_COMPOSITION, STORED_SCHEMAS, THIGH_MUSCLES, LabelSchema
from lib.cold_start.answers import Answer, FindLevels, LevelNotFoundError, choose_slice
from lib.cold_start.levels import find_levels
from lib.images import CTImage, PatientFacts, read_ct, write_label
from lib.images.files import read_volume
from lib.images.frames import FrameOrder, frame_order
from lib.infers.champions import Champion, Champions
from lib.infers.levels import Detector
from lib.infers.options import FOLDS, MIRRORING, OVERLAY, PICTURE, SHOWS, InferOptions
from lib.infers.slices import answer_by_ensemble, answer_in_parts, folds_of
from lib.infers.volumes import answer_for_volume
from lib.measures import thigh, whole_body
from lib.measures.composition import Composition, measure
from lib.measures.indices import Judgement, judge, judge_whole_body
from lib.measures.overlap import dice
from lib.refusals import Refusal
from lib.reports.body_sheet import draw_body
from lib.reports.case_sheet import draw_case
from lib.tasks import ALL, Task

# Keys that the app puts into a request; what a client sends under them is overwritten.
CASE_FACTS = "case_facts"
SAVED_LABELS = "saved_labels"
IN_FRAMES = "in_frames"
"""Whether the answer has the order of the frames of the case's DICOM series, and counts slices by them."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """What a request is answered with.

    Attributes:
        file: a new label file in the image's own geometry, or a picture, which the caller deletes.
        params: for the client.
        answer: what both were made from.
        as_by_default: whether slice and folds were left to the program, and the task's usual networks answered.
    """

    file: Path
    params: dict[str, Any]
    answer: Answer
    as_by_default: bool


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What a task makes of an image.

    Attributes:
        answer: the answer itself, in canonical order.
        label: what was asked to be shown, in the order of the image.
        params: for the client.
        facts: all that is known of the patient, from image, store and request.
        overlay: a PNG, where one was asked for.
        schema: what the label's values mean, unless the disagreement was asked for.
        composition: what was measured.
        judgement: of the composition.
    """

    answer: Answer
    label: npt.NDArray
    params: dict[str, Any]
    facts: PatientFacts
    schema: LabelSchema
    composition: Composition
    judgement: Judgement
    overlay: bytes | None


class SegmentationTask(InferTask):
    """Answers a task with a label, its measurements, and how far to trust it.

    Args:
        task: the row of the task table.
        champions: the trained models; without one for the task its cold start answers.
    """

    def __init__(self, task: Task, champions: Champions | None = None) -> None:
        # Strings only: clients build their forms from it, and Slicer turns an emptied number into 0.
        config: dict[str, Any] = {"slice_index": "", "height_m": "", "sex": ["", "M", "F"]}
        if task.network or task.parts:
            config |= {"fold": [*FOLDS[: 2 + task.folds]], "show": [*SHOWS]}
        if task.network == "nnunet_2d" or task.parts:
            config |= {"mirroring": [*MIRRORING]}
        if task.networks:
            config |= {"network": ["", *task.networks]}
        if task.on_slice or task.schema is BODY_COMPOSITION:
            config |= {"overlay": [*OVERLAY]}
        if task.schema is BODY_COMPOSITION:
            config |= {"weight_kg": "", "contrast": ["", "yes", "no", ALL]}
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=dict(task.schema.shown.ids),
            dimension=task.dimension,
            description=task.description,
            config=config,
        )
        self.task = task
        self._champions = champions

    def info(self) -> dict[str, Any]:
        """What ``/info/`` says of the task, with what an annotator includes in each class and leaves out."""
        definitions = {
            structure.name: structure.definition for structure in self.task.schema.shown if structure.definition
        }
        return {**super().info(), "definitions": definitions}

    def is_valid(self) -> bool:
        """Always: without a trained model the cold start answers."""
        return True

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The file and the ``params`` of :meth:`respond`, as MONAI Label calls an infer task."""
        response = self.respond(request)
        return str(response.file), response.params

    def assess(self, path: Path) -> Answer:
        """What the task makes of a CT without further wishes, for those who want its doubt only.

        Raises:
            Refusal: the image does not allow an answer.
        """
        usual = "".join(self.task.networks[:1])
        return self._answer(read_ct(path).canonical(), InferOptions(contrast=ALL, network=usual))

    def respond(self, request: Mapping[str, Any]) -> Response:
        """Answer a request.

        Args:
            request: ``image`` is the path of the CT; the rest as in :class:`InferOptions`.

        Raises:
            Refusal: the image or the request does not allow an answer.
        """
        start = time.perf_counter()
        options = InferOptions.parse(request)
        image, order = read_ct(request["image"]), None
        if request.get(IN_FRAMES):
            order = frame_order(image.shape, image.affine)
            image = replace(image, hu=order.to_frames(image.hu), affine=order.affine, file_shape=order.shape)
        read = time.perf_counter()
        known: PatientFacts = request.get(CASE_FACTS) or PatientFacts()
        analysis = self.analyse(image, options, known=known, saved=request.get(SAVED_LABELS) or {}, order=order)
        params = analysis.params
        with tempfile.NamedTemporaryFile(suffix=options.suffix, dir=_answers_folder(), delete=False) as file:
            path = Path(file.name)
        if options.suffix == PICTURE:
            path.write_bytes(analysis.overlay or b"")
        else:
            write_label(path, analysis.label, image)
        if options.overlay and analysis.overlay:
            params["overlay"] = f"data:image/png;base64,{base64.b64encode(analysis.overlay).decode()}"
        params["latencies"] = {
            "read": round(read - start, 3),
            **params["latencies"],
            "total": round(time.perf_counter() - start, 3),
        }
        own_choice = (
            options.slice_index is not None
            or options.fold != "ensemble"
            or bool(analysis.answer.details.get("variant"))
        )
        return Response(file=path, params=params, answer=analysis.answer, as_by_default=not own_choice)

    def analyse(
        self,
        image: CTImage,
        options: InferOptions,
        *,
        known: PatientFacts | None = None,
        saved: Mapping[str, Path] | None = None,
        order: FrameOrder | None = None,
    ) -> Analysis:
        """Answer for an image in memory.

        Args:
            image: in the order of its file, or of ``order``.
            options: what was asked for.
            known: what the store knows of the patient; the image knows less, the request more.
            saved: the case's saved labels by task, which the answer is compared with.
            order: how the voxels of the file were put in order, where they were.

        Raises:
            Refusal: the image or the request does not allow an answer.
        """
        start = time.perf_counter()
        wants_picture = options.overlay or options.suffix == PICTURE
        if wants_picture and not self.task.on_slice and self.task.schema is not BODY_COMPOSITION:
            raise Refusal(f"{self.task.name} answers for the whole volume; there is no slice to draw.")
        requested = options.slice_index
        if requested is not None:
            requested = image.slice_from_canonical(requested)
        canonical = image.canonical()
        facts = image.facts.updated(known or PatientFacts()).updated(options.facts)
        try:
            answer = self._answer(canonical, replace(options, slice_index=requested), contrast=facts.contrast)
        except LevelNotFoundError as refusal:
            raise refusal.counted_by(image.slice_from_canonical) from refusal
        label = self._in_file_order(image, answer.label, answer, options)
        answered = time.perf_counter()

        index = None if answer.slice_index is None else image.slice_from_canonical(answer.slice_index)
        composition = measure(image, label, self.task.schema, slice_index=index if self.task.dimension == 2 else None)
        whole = whole_body.measure_whole_body(canonical, answer.label) if self.task.schema is BODY_COMPOSITION else None
        judgement = judge(composition, facts) if whole is None else judge_whole_body(whole, facts)
        answer = replace(answer, details=_counted_by(image, answer.details))
        params = self._params(answer, index, composition, judgement, options)
        overlap, overlap_warnings = _overlap(label, self.task, saved or {}, order)
        params["measurements"]["dice_with_saved_label"] = overlap
        of_body: list[str] = []
        if whole:
            params["measurements"] |= whole_body.to_json(whole, image)
            params["measurements"]["saved_label"] = _saved_body(image, saved or {}, facts, order)
            of_body = [*whole.not_measured.values(), *whole.warnings]
        if self.task.schema is THIGH_MUSCLES:
            legs = thigh.measure_thigh(canonical, answer.label)
            params["measurements"] |= thigh.to_json(legs, facts.height_m)
            params["measurements"]["saved_label"] = _saved_thigh(image, saved or {}, facts, order)
            of_body = [*legs.not_measured.values(), *legs.warnings, *legs.of_view]
            of_body += [] if facts.height_m else [thigh.NO_HEIGHT]
        phantom = ["This case is a digital phantom."] if facts.phantom else []
        of_measurements = [*of_body, *judgement.warnings]
        about = [*image.warnings, *options.warnings, *answer.warnings, *of_measurements, *overlap_warnings]
        params["warnings"] = [*phantom, *about]
        overlay = None
        of_picture = [*phantom, *answer.warnings]  # what is not known of the patient cannot be seen on it
        if wants_picture and whole:
            of_picture += whole.warnings
            overlay = draw_body(canonical, answer, whole, in_file=image, warnings=of_picture)
        elif wants_picture and index is not None:
            overlay = draw_case(
                canonical, self.task.schema, answer, composition, judgement, slice_index=index, warnings=of_picture
            )
        if options.show == "disagreement":
            if answer.doubt_percent is None:
                raise Refusal(
                    f"{self.task.name} has no trained model yet, so there is no disagreement of folds to show."
                )
            label = self._in_file_order(image, answer.doubt_percent, answer, options)
        params["latencies"] = {"infer": round(answered - start, 3)}
        return Analysis(
            answer=answer,
            label=label,
            params=params,
            facts=facts,
            schema=self.task.schema,
            composition=composition,
            judgement=judgement,
            overlay=overlay,
        )

    def _answer(self, image: CTImage, options: InferOptions, *, contrast: bool | None = None) -> Answer:
        if self.task.network == "volume":
            return self._answer_for_volume(image, options, contrast=contrast)
        find = self._find_levels(options)
        parts = {name: self._champion(name) for name in self.task.parts}
        if any(parts.values()):
            return answer_in_parts(image, self.task.schema, parts, options, find)
        champion = self._champion(self.task.name) if self.task.network == "nnunet_2d" else None
        if champion is None:
            return self.task.answer(image, options.slice_index, find)
        chosen = choose_slice(image, options.slice_index, find)
        return answer_by_ensemble(image, self.task.schema, champion, options, chosen)

    def _answer_for_volume(self, image: CTImage, options: InferOptions, *, contrast: bool | None) -> Answer:
        """By the champion that was asked for, or that suits the image; by the cold start where there is none.

        Where no network was asked for, the usual one comes first, and another one before the cold start.
        """
        suiting = {True: "contrast", False: "plain", None: ALL}[contrast] if self.task.by_contrast else ALL
        networks = [options.network] if options.network else [*self.task.networks]
        contrasts = [options.contrast] if options.contrast else dict.fromkeys([suiting, ALL])
        for variant in itertools.starmap(self.task.variant, itertools.product(networks, contrasts)):
            champion = self._champions.of(self.task.name, variant) if self._champions else None
            if champion is not None:
                return answer_for_volume(image, self.task.schema, champion, options)
        answer = self.task.answer(image)
        asked = self.task.variant(options.network, options.contrast)
        if not asked:
            return answer
        sentence = f"{self.task.name} has no trained model {asked} yet; the method that needs none answered."
        return replace(answer, warnings=(sentence, *answer.warnings))

    def _find_levels(self, options: InferOptions) -> FindLevels:
        """By the champion of ``l3_slice`` if there is one; folds that are asked for are those of the task itself."""
        champion = self._champion("l3_slice") if self.task.on_slice and options.slice_index is None else None
        if champion is None:
            return find_levels
        return Detector(champion, folds_of(options.fold, champion) if self.task.network == "levels" else None)

    def _in_file_order(self, image: CTImage, array: npt.NDArray, answer: Answer, options: InferOptions) -> npt.NDArray:
        """What an answer says of every voxel, in the order of the file; only one slice says anything of a 2-D task."""
        own = image.from_canonical(array)
        if self.task.dimension == 3 or answer.slice_index is None:
            return np.asfortranarray(own).astype(options.dtype, copy=False)
        label = np.zeros(own.shape, options.dtype, order="F")
        here: list[slice | int] = [slice(None)] * 3
        here[image.foot_to_head_axis] = image.slice_from_canonical(answer.slice_index)
        label[tuple(here)] = own[tuple(here)]
        return label

    def _champion(self, task: str) -> Champion | None:
        return self._champions.of(task) if self._champions else None

    def _params(
        self,
        answer: Answer,
        index: int | None,
        composition: Composition,
        judgement: Judgement,
        options: InferOptions,
    ) -> dict[str, Any]:
        return {
            "label_names": dict(self.task.schema.shown.ids),
            "shows": options.show,
            "method": answer.method,
            "model_version": answer.model_version,
            "slice_index": index,
            "level": answer.level,
            "measurements": {
                "slice_index": composition.slice_index,
                "level": answer.level,
                "regions": composition.to_json(),
                **judgement.to_json(),
            },
            "uncertainty": {
                **answer.disagreement,
                "score": round(answer.doubt, 4),
                "by": answer.model_version or "cold start",
            },
            **answer.details,
        }


def _counted_by(image: CTImage, details: Mapping[str, Any]) -> dict[str, Any]:
    """Levels and candidates with the slice numbers of the image's own file."""
    own = dict(details)
    if "level_candidates" in own:
        own["level_candidates"] = [
            {**each, "slice_index": image.slice_from_canonical(each["slice_index"])} for each in own["level_candidates"]
        ]
    if "levels" in own:
        own["levels"] = {
            name: {
                end: image.slice_from_canonical(value) if end.endswith("_slice") and value is not None else value
                for end, value in ends.items()
            }
            for name, ends in own["levels"].items()
        }
    return own


def _answers_folder() -> Path:
    """Where answers lie until they are sent.

    Not the folder for temporary files itself: MONAI Label's client on the same machine writes its copy there under the
    same name, and the server would delete that one.
    """
    folder = Path(tempfile.gettempdir()) / f"sarcopenia-label-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _saved_array(path: Path, order: FrameOrder | None) -> npt.NDArray:
    """A saved label in the order of the image that it is compared with."""
    array = read_volume(path)[0]
    return array if order is None else order.to_frames(array)


def _fitting(image: CTImage, saved: Mapping[str, Path], task: str, order: FrameOrder | None) -> npt.NDArray | None:
    """The case's saved label of a task; ``None`` where there is none that fits."""
    if task not in saved:
        return None
    array = _saved_array(saved[task], order)
    return array if array.shape == image.shape else None


def _saved_thigh(
    image: CTImage, saved: Mapping[str, Path], facts: PatientFacts, order: FrameOrder | None
) -> dict[str, Any] | None:
    """The measurements of the case's saved label of the thigh, with what is to be noticed about it."""
    array = _fitting(image, saved, THIGH_MUSCLES.task, order)
    if array is None:
        return None
    legs = thigh.measure_thigh(image.canonical(), replace(image, hu=array).canonical().hu)
    return {
        "regions": measure(image, array, THIGH_MUSCLES).to_json(),
        **thigh.to_json(legs, facts.height_m),
        "warnings": [*legs.warnings, *legs.of_view],
    }


def _saved_body(
    image: CTImage, saved: Mapping[str, Path], facts: PatientFacts, order: FrameOrder | None
) -> dict[str, Any] | None:
    """The measurements of the case's saved label of body composition."""
    array = _fitting(image, saved, BODY_COMPOSITION.task, order)
    if array is None:
        return None
    whole = whole_body.measure_whole_body(image.canonical(), replace(image, hu=array).canonical().hu)
    return {
        "regions": measure(image, array, BODY_COMPOSITION).to_json(),
        **judge_whole_body(whole, facts).to_json(),
        **whole_body.to_json(whole, image),
    }


def _overlap(
    label: npt.NDArray, task: Task, saved: Mapping[str, Path], order: FrameOrder | None
) -> tuple[dict[str, float | None] | None, list[str]]:
    """Dice of each class that the case's saved labels hold, or ``None`` where nothing is saved (Yu 2026, 2.4)."""
    found: dict[str, float | None] = {}
    warnings = []
    for stored_task, path in saved.items():
        common = [s for s in STORED_SCHEMAS[stored_task] if s.name in task.schema]
        if not common:
            continue
        array = _saved_array(path, order)
        if array.shape != label.shape:
            warnings.append(f"The saved label of {stored_task} has another shape than the image; no overlap is given.")
            continue
        drawn = [s for s in common if (array == s.id).any()]
        translated = np.zeros(array.shape, label.dtype)
        for structure in drawn:
            translated[array == structure.id] = task.schema.ids[structure.name]
        found |= dice(label, translated, {s.name: task.schema.ids[s.name] for s in drawn})
    rounded = {name: None if value is None else round(value, 4) for name, value in found.items()}
    return rounded or None, warnings
