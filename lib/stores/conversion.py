"""Folders of DICOM as NIfTI files, which is what clients download and labels lie on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pydicom

from lib.disk import sync_folder
from lib.images import read_ct
from lib.images.dicom import dicom_headers, patient_facts, patient_value
from lib.images.files import compressed, ct_nifti
from lib.stores.files import stage

_IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID")


def convert_dicom_folder(folder: Path, target: Path, *, scratch: Path) -> None:
    """Write the one CT series of a folder as a compressed NIfTI.

    Args:
        folder: the DICOM files.
        target: the ``.nii.gz`` to write; an older conversion is replaced.
        scratch: a folder for temporary files, on the same file system.

    Raises:
        Refusal: the folder holds no single sound CT series.
    """
    content = compressed(ct_nifti(read_ct(folder)))
    stage(content, scratch=scratch).replace(target)
    sync_folder(target.parent)


def series_facts(folder: Path) -> dict[str, Any]:
    """What is known of the patient (see :class:`lib.images.PatientFacts`) and the identifiers of study and series.

    ``patient`` tells patients apart without naming them: a hash of PatientID, where there is one.

    Raises:
        Refusal: 503, when the system does not let them be read.
    """
    header = next((h for h in dicom_headers(folder).of.values() if h.get("Modality") == "CT"), pydicom.Dataset())
    facts = {name: value for name, value in vars(patient_facts(header)).items() if value is not None}
    number = "/".join(str(patient_value(header, name) or "") for name in ("IssuerOfPatientID", "PatientID"))
    if not number.endswith("/"):
        facts["patient"] = hashlib.sha256(number.encode()).hexdigest()[:16]
    return facts | {name: str(header[name].value) for name in _IDENTIFIERS if name in header}
