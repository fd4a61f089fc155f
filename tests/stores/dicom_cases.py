"""Small DICOM series, and segmentations of them by another program."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from highdicom.sr.coding import CodedConcept
from pydicom.uid import generate_uid

from lib.dicom_objects.source import SourceSeries, source_series
from lib.images import CTImage, PatientFacts
from lib.phantoms.dicom import write_dicom_series
from lib.phantoms.scanner import Scanner

SHAPE = (24, 20, 6)
OBLIQUE = np.linalg.qr(np.array([[1, 0.1, 0.05], [-0.1, 1, 0.1], [0, -0.1, 1]]))[0]
DIRECTIONS = {"axial": OBLIQUE * np.sign(np.diag(OBLIQUE)), "sagittal": np.eye(3)[[2, 0, 1]]}


def write_series(
    folder: Path, identity: str, *, directions: str = "axial", shape: tuple[int, int, int] = SHAPE
) -> list[Path]:
    """The files of a CT series in a new folder."""
    affine = np.eye(4)
    affine[:3, :3] = DIRECTIONS[directions] * [0.8, 0.9, 5.0]
    affine[:3, 3] = [-91.5, -80.25, 410.0]
    hu = np.random.default_rng(len(identity)).integers(-1000, 400, shape).astype(np.int16)
    image = CTImage(hu=hu, affine=affine, facts=PatientFacts(sex="F", height_m=1.6, phantom=True))
    folder.mkdir(parents=True)
    write_dicom_series(
        folder, image, patient_id=f"P{identity}", description="abdomen", scanner=Scanner(), identity=identity
    )
    return sorted(folder.iterdir())


def source_of(files: list[Path]) -> SourceSeries:
    return source_series([pydicom.dcmread(file, stop_before_pixels=True) for file in files])


def write_foreign(
    path: Path, source: SourceSeries, label: np.ndarray, names: tuple[str, ...], *, kind: str = "MANUAL"
) -> pydicom.Dataset:
    """A segmentation as another program writes it; the values of the label are the numbers of the names from 1."""
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=CodedConcept("123037004", "SCT", "Anatomical Structure"),
            segmented_property_type=CodedConcept("0", "99XYZ", "whatever"),
            algorithm_type=kind,
            algorithm_identification=None
            if kind == "MANUAL"
            else hd.AlgorithmIdentificationSequence("net", CodedConcept("123110", "DCM", "AI"), "1"),
        )
        for number, name in enumerate(names, start=1)
    ]
    written = hd.seg.Segmentation(
        [source.instances[n] for n in source.frames], np.moveaxis(label, (2, 1, 0), (0, 1, 2)), "BINARY", descriptions,
        generate_uid(), 1, generate_uid(), 1, "Another", "Viewer", "1", "1", content_creator_name="Muster^Anna",
        series_description="my muscles",
    )  # fmt: skip
    written.save_as(path, write_like_original=False)
    return written


def muscles(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """The three groups of ``l3_muscle`` on one slice, in the order of the slices of the DICOM series."""
    label = np.zeros(shape, np.uint8)
    label[4:9, 3:9, 3] = 1
    label[4:9, 10:16, 3] = 2
    label[12:20, 4:12, 3] = 3
    return label
