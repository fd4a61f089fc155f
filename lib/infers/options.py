"""What a client may ask for along with an inference."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lib.images import PatientFacts, parse_facts
from lib.images.files import image_suffix
from lib.refusals import Refusal
from lib.tasks import ALL, CONTRASTS

FOLDS = ("ensemble", "best", "0", "1", "2", "3", "4")
MIRRORING = ("no", "yes")
SHOWS = ("label", "disagreement")
OVERLAY = ("no", "yes")
PICTURE = ".png"
"""The format of an answer that is a picture for people and no label."""
_DTYPES = ("uint8", "uint16", "int16", "int32")


@dataclass(frozen=True, kw_only=True)
class InferOptions:
    """The parsed request.

    Attributes:
        slice_index: the slice chosen by hand along the image's own foot-to-head axis, or ``None``.
        fold: which networks of a trained model answer: ``ensemble``, ``best``, or the number of one.
        mirroring: whether mirror images are averaged in.
        network: which kind of network answers, one of the task's; "" for the usual one, or another that was trained.
        contrast: on which CTs the network was trained, one of :data:`lib.tasks.CONTRASTS`; "" for what suits the image,
            as far as it is known whether contrast agent was given.
        show: ``label``, or ``disagreement`` for a volume of the doubt in percent instead.
        overlay: whether a picture of the answer is wanted in ``params``.
        facts: what the client knows of the patient.
        warnings: what was wrong with it.
        suffix: file format of the answer; :data:`PICTURE` for a picture in place of the label.
        dtype: voxel type of the answer.
    """

    slice_index: int | None = None
    fold: str = "ensemble"
    mirroring: bool = False
    network: str = ""
    contrast: str = ""
    show: str = "label"
    overlay: bool = False
    facts: PatientFacts = field(default_factory=PatientFacts)
    warnings: tuple[str, ...] = ()
    suffix: str = ".nii.gz"
    dtype: str = "uint8"

    @classmethod
    def parse(cls, request: Mapping[str, Any]) -> InferOptions:
        """Read what MONAI Label's clients send; anything else in the request is not ours.

        Raises:
            Refusal: ``slice_index`` is no whole number, or a choice, such as the format of the answer, is unknown.
        """
        contrast = _contrast(request.get("contrast"))
        said = {"": request.get("contrast"), "contrast": True, "plain": False, ALL: None}[contrast]
        facts, wrong = parse_facts({**request, "contrast": said})
        suffix = _suffix(request)
        dtype = str(request.get("result_dtype") or "uint8")
        if dtype not in _DTYPES:
            raise Refusal(f"result_dtype {dtype!r} is not one of {', '.join(_DTYPES)}.")
        return cls(
            slice_index=_slice_index(request.get("slice_index")),
            fold=_choice(request, "fold", FOLDS),
            mirroring=_choice(request, "mirroring", MIRRORING) == "yes",
            network="" if isinstance(request.get("network"), list) else str(request.get("network") or ""),
            contrast=contrast,
            show=_choice(request, "show", SHOWS),
            overlay=_choice(request, "overlay", OVERLAY) == "yes",
            facts=facts,
            warnings=tuple(f"{sentence} It was left out." for sentence in wrong.values()),
            suffix=suffix,
            dtype=dtype,
        )


def _suffix(request: Mapping[str, Any]) -> str:
    given = str(request.get("result_extension") or ".nii.gz")
    suffix = PICTURE if given.lower() == PICTURE else image_suffix(f"x{given}")
    if not suffix:
        raise Refusal(f"result_extension {given!r} is not one of .nii.gz, .nii, .nrrd, and .png for a picture.")
    if suffix == PICTURE and request.get("save_label"):
        raise Refusal("A picture cannot be saved as a label; leave out save_label, or result_extension.")
    return suffix


def _choice(request: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    """One of the choices; the first where nothing was chosen, or where a client sends back the whole list."""
    given = request.get(name)
    if given is None or given == "" or isinstance(given, list):
        return choices[0]
    text = {True: "yes", False: "no"}.get(given, str(given)) if isinstance(given, bool) else str(given)
    if text not in choices:
        raise Refusal(f"{name} {given!r} is not one of {', '.join(choices)}.")
    return text


def _contrast(given: object) -> str:
    """Which model is asked for by a word of :data:`lib.tasks.CONTRASTS`; "yes" and "no" are facts of the image."""
    return given if isinstance(given, str) and given in CONTRASTS else ""


def _slice_index(given: object) -> int | None:
    text = str("" if given is None else given).strip()
    if not text:
        return None
    if not re.fullmatch(r"-?\d+", text, re.ASCII):
        raise Refusal(f"slice_index {given!r} is no whole number; leave it empty to search for L3.")
    return int(text)
