"""What of a store is exported: the newest final label of every case, its image, and what is known of the patient."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.disk import make_folder
from lib.images import read_ct
from lib.images.files import NIFTI_SUFFIXES, is_marked_phantom, write_ct
from lib.stores import CaseStore
from lib.stores.names import folder_name
from lib.stores.records import Revision


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A label to export.

    Attributes:
        revision: the label.
        image: the file of its image.
        patient: whose it is.
        facts: of the patient, as text.
    """

    revision: Revision
    image: Path
    patient: str
    facts: Mapping[str, str]

    @property
    def stem(self) -> str:
        """The name of its case as a file name on any system."""
        return folder_name(self.revision.image_id)


def chosen_labels(store: CaseStore, tasks: Sequence[str]) -> Iterator[Chosen]:
    """The newest final labels of tasks.

    Raises:
        Refusal: an image cannot be had.
    """
    for task in tasks:
        for revision in store.current_labels(task):
            image = Path(store.get_image_uri(revision.image_id))
            known = vars(store.case_facts(revision.image_id))
            facts = {name: _text(value) for name, value in known.items() if value is not None}
            if is_marked_phantom(image):
                facts["phantom"] = "yes"
            patient = store.patient(revision.image_id)
            yield Chosen(revision=revision, image=image, patient=patient, facts={**facts, "patient": patient})


def write_image(chosen: Chosen, target: Path) -> None:
    """Write the image as ``.nii.gz``, unless it is there: byte by byte where it is one, else its voxels and affine.

    Raises:
        Refusal: it cannot be read.
    """
    if target.exists():
        return
    make_folder(target.parent)
    if chosen.image.name.lower().endswith(NIFTI_SUFFIXES[0]):
        shutil.copyfile(chosen.image, target)
    else:
        write_ct(target, read_ct(chosen.image))


def description_of(labels: Sequence[Chosen]) -> str:
    """What a dataset says of itself; nothing that learns from phantoms may look as if it were for patients."""
    phantoms = sum(chosen.facts.get("phantom") == "yes" for chosen in labels)
    said = f" {phantoms} of them are digital phantoms: nothing that learns from them is for patients."
    return f"{len(labels)} labels exported from Sarcopenia Label.{said if phantoms else ''}"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
