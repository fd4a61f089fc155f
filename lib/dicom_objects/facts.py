"""What a DICOM object says of the label revision that it was made from, and its identifiers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

import pydicom
from pydicom.dataset import Dataset

MANUFACTURER = "Sarcopenia Label"
MODEL_NAME = "Sarcopenia Label"
PRIVATE_SCHEME = "99SARC"
_LONG_STRING = 64
_NOT_IN_TEXT = re.compile(r"[\\^=\x00-\x1f\x7f]+")


@dataclass(frozen=True, kw_only=True)
class LabelFacts:
    """A revision as its DICOM objects describe it.

    Attributes:
        task: the task.
        number: of the revision, 1 and up.
        author: who saved it, or "".
        created: when, with its time zone.
        sha256: of the label file.
        is_reviewed: a person submitted it; else it is what a model answered.
        model: the model that it started from, or "".
        model_version: its version, or ``None`` for a cold start, or where it is not known.
        dataset: the public dataset that it was imported from, or "".
        is_partial: structures may be missing that nobody drew.
        is_phantom: nobody was scanned.
        of_phantoms: the model learnt from phantoms.
    """

    task: str
    number: int
    author: str
    created: datetime
    sha256: str
    is_reviewed: bool = True
    model: str = ""
    model_version: str | None = None
    dataset: str = ""
    is_partial: bool = False
    is_phantom: bool = False
    of_phantoms: bool = False

    @property
    def series_description(self) -> str:
        """Task, revision and author in the 64 characters that DICOM allows, and that it is a phantom where it is."""
        mark = " (phantom)" if self.is_phantom else ""
        by = f" by {self.author}" if self.author else ""
        return as_long_string(f"{self.task} revision {self.number}{mark}{by}")

    @property
    def content_description(self) -> str:
        """How the label came to be."""
        notes = {"phantom": self.is_phantom, "model of phantoms": self.of_phantoms, "partial": self.is_partial}
        said = f"from {self.dataset}" if self.dataset else "drawn by hand"
        if self.model:
            answer = "corrected from" if self.is_reviewed else "answer of"
            said = f"{answer} {self.model} {self.model_version or ''}"
        return as_long_string("; ".join([*(note for note, holds in notes.items() if holds), said]))


def object_uid(facts: LabelFacts, *, source_series: str, of: str) -> pydicom.uid.UID:
    """The identifier of something that is made from a revision: the same revision always gives the same one.

    Args:
        facts: the revision.
        source_series: SeriesInstanceUID of the CT.
        of: what it identifies, such as ``seg series``.
    """
    texts = [source_series, facts.task, str(facts.number), facts.sha256, of]
    return pydicom.uid.generate_uid(entropy_srcs=["sarcopenia-label revision", *texts])


def set_times(dataset: Dataset, facts: LabelFacts) -> None:
    """Date an object by its revision, in local time as scanners do, so that it is the same whenever it is made."""
    created = facts.created.astimezone()
    for name in ("Content", "InstanceCreation", "Series"):
        setattr(dataset, f"{name}Date", f"{created:%Y%m%d}")
        setattr(dataset, f"{name}Time", f"{created:%H%M%S.%f}")


def set_texts(dataset: Dataset, facts: LabelFacts) -> None:
    """Say in Unicode what the object is of, and mark a phantom."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.OperatorsName = as_person_name(facts.author)
    if facts.is_phantom:
        dataset.QualityControlSubject = "YES"
        dataset.PatientComments = "digital phantom, not a patient"


def as_person_name(name: str) -> str:
    """A name as DICOM's PN wants it, all of it as the family name; "" stays ""."""
    text = _NOT_IN_TEXT.sub(" ", name).strip()[: _LONG_STRING - 1].strip()
    return f"{text}^" if text else ""


def as_plain_name(value: object) -> str:
    """A DICOM person name as people write it: the components in their order, the first of the representations."""
    alphabetic = str(value or "").split("=", maxsplit=1)[0]
    return " ".join(part for part in alphabetic.split("^") if part.strip()).strip()


def as_long_string(text: str) -> str:
    """A text in the 64 characters of DICOM's LO."""
    text = " ".join(_NOT_IN_TEXT.sub(" ", text).split())
    return text if len(text) <= _LONG_STRING else text[: _LONG_STRING - 3].rstrip() + "..."
