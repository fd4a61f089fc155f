"""A PDF about a CT series as a DICOM object (Encapsulated PDF Storage)."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, generate_uid

from lib.dicom_objects.facts import MANUFACTURER, MODEL_NAME, as_long_string
from lib.dicom_objects.source import SourceSeries

_SERIES_NUMBER = 9900
_OF_STUDY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName", "StudyInstanceUID",
)  # fmt: skip


def write_pdf(
    pdf: bytes, source: SourceSeries, *, title: str, is_reviewed: bool, is_phantom: bool, version: str
) -> Dataset:
    """Wrap a PDF, in the study of the series that it is about.

    Args:
        pdf: the document.
        source: the CT series.
        title: of the document.
        is_reviewed: whether it is of what a person saved; another says in its title that it is not.
        is_phantom: whether nobody was scanned.
        version: of this program.

    Returns:
        An object whose identifiers are made from series and document: the same ones always give the same.
    """
    first = source.instances[0]
    content = hashlib.sha256(pdf).hexdigest()
    now = datetime.now(UTC).astimezone()
    written = Dataset()
    written.file_meta = FileMetaDataset()
    written.file_meta.MediaStorageSOPClassUID = EncapsulatedPDFStorage
    written.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written.SpecificCharacterSet = "ISO_IR 192"
    written.SOPClassUID = EncapsulatedPDFStorage
    written.SOPInstanceUID = _uid(source, content, "pdf")
    written.file_meta.MediaStorageSOPInstanceUID = written.SOPInstanceUID
    written.SeriesInstanceUID = _uid(source, content, "pdf series")
    for name in _OF_STUDY:
        setattr(written, name, first.get(name, ""))
    written.Modality = "DOC"
    written.SeriesNumber, written.InstanceNumber = _SERIES_NUMBER, 1
    written.Manufacturer, written.ManufacturerModelName = MANUFACTURER, MODEL_NAME
    written.SoftwareVersions = version
    written.ConversionType = "WSD"
    for name in ("Content", "InstanceCreation", "Series"):
        setattr(written, f"{name}Date", f"{now:%Y%m%d}")
        setattr(written, f"{name}Time", f"{now:%H%M%S}")
    written.AcquisitionDateTime = ""
    written.BurnedInAnnotation = "YES"  # the id of the case, which may be a patient's
    mark = "".join((" (phantom)" if is_phantom else "", "" if is_reviewed else " (not reviewed)"))
    written.DocumentTitle = f"{title}{mark}"
    written.SeriesDescription = as_long_string(f"Report{mark}")
    written.VerificationFlag = "UNVERIFIED"
    written.ConceptNameCodeSequence = []
    if is_phantom:
        written.QualityControlSubject = "YES"
        written.PatientComments = "digital phantom, not a patient"
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = first.SOPClassUID, first.SOPInstanceUID
    written.SourceInstanceSequence = [reference]
    written.MIMETypeOfEncapsulatedDocument = "application/pdf"
    written.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    written.EncapsulatedDocumentLength = len(pdf)
    return written


def _uid(source: SourceSeries, content: str, of: str) -> pydicom.uid.UID:
    return generate_uid(entropy_srcs=["sarcopenia-label report", source.series_uid, content, of])
