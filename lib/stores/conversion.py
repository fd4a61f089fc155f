"""Folders of DICOM as NIfTI files, which is what clients download and labels lie on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from lib.disk import sync_folder
from lib.images.dicom import CTSeries, patient_facts, patient_value, read_header
from lib.images.faults import refusing_passing_faults
from lib.images.files import compressed, ct_nifti, read_ct_series
from lib.stores.files import stage

_IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID")


def convert_series(series: CTSeries, target: Path, *, scratch: Path) -> None:
    """Write a CT series as a compressed NIfTI.

    Args:
        series: one series.
        target: the ``.nii.gz`` to write; an older conversion is replaced.
        scratch: a folder for temporary files, on the same file system.

    Raises:
        Refusal: it is not sound.
    """
    (files,) = series.files.values()
    content = compressed(ct_nifti(read_ct_series(files, series.warnings)))
    stage(content, scratch=scratch).replace(target)
    sync_folder(target.parent)


def series_facts(series: CTSeries) -> dict[str, Any]:
    """What is known of the patient (see :class:`lib.images.PatientFacts`) and the identifiers of study and series.

    ``patient`` tells patients apart without naming them: a hash of PatientID, where there is one.

    Raises:
        Refusal: 503, when the system does not let them be read.
    """
    (files,) = series.files.values()
    with refusing_passing_faults(files[0].parent.name):
        header = read_header(files[0])
    facts = {name: value for name, value in vars(patient_facts(header)).items() if value is not None}
    number = "/".join(str(patient_value(header, name) or "") for name in ("IssuerOfPatientID", "PatientID"))
    if not number.endswith("/"):
        facts["patient"] = hashlib.sha256(number.encode()).hexdigest()[:16]
    return facts | {name: str(header[name].value) for name in _IDENTIFIERS if name in header}
