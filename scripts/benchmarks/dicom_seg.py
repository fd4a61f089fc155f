"""CPU time, memory and size of a DICOM segmentation of 300 slices with seven structures on each, written and read."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from lib.anatomy.schemas import BODY_COMPOSITION
from lib.dicom_objects import segmentation
from lib.dicom_objects.facts import LabelFacts
from lib.dicom_objects.source import SourceSeries, source_series
from lib.stores.dicom_label import read_dicom_label
from lib.stores.geometry import Grid

_FACTS = LabelFacts(
    task=BODY_COMPOSITION.task, number=1, author="benchmark", created=datetime(2026, 1, 1, tzinfo=UTC), sha256="0" * 64
)


def main(argv: list[str]) -> int:
    """Run the benchmark and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmark.py dicom-seg", description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--matrix", type=int, default=512)
    options = parser.parse_args(argv)
    print("| step | CPU s | more memory, GB | MB |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "label.dcm"
        steps = {"written": _write, "written by plain highdicom": _write_plainly, "read": _read}
        for name, step in steps.items():
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds, memory = pool.apply(_measured, (step, path, options.slices, options.matrix))
            print(f"| {name} | {seconds:.1f} | {memory:.2f} | {path.stat().st_size / 1e6:.0f} |")
    return 0


def _measured(step: Callable[..., None], path: Path, slices: int, matrix: int) -> tuple[float, float]:
    """CPU seconds of a step, and by how many GB the peak of the process grew."""
    source, label = _series(slices, matrix), _label(slices, matrix)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    step(path, source, label)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return time.process_time() - started, grown / 1e6


def _write(path: Path, source: SourceSeries, label: np.ndarray) -> None:
    written = segmentation.write_segmentation(label, BODY_COMPOSITION, source, _FACTS, version="1")
    written.save_as(path, write_like_original=False)


def _write_plainly(path: Path, source: SourceSeries, label: np.ndarray) -> None:
    segmentation._PackedSegmentation = hd.seg.Segmentation  # type: ignore[assignment] # noqa: SLF001
    _write(path, source, label)


def _read(path: Path, source: SourceSeries, label: np.ndarray) -> None:
    grid = Grid(shape=source.shape, affine=source.affine, file_shape=source.shape)
    found = read_dicom_label(path, grid=grid)[BODY_COMPOSITION.task]
    if not np.array_equal(found, label):
        raise ValueError("another label was read than was written")


def _label(slices: int, matrix: int) -> np.ndarray:
    label = np.zeros((matrix, matrix, slices), np.uint8, order="F")
    for number in range(len(BODY_COMPOSITION)):
        start = matrix * number // len(BODY_COMPOSITION)
        label[matrix // 10 : -matrix // 10, start : start + matrix // 10] = number + 1
    return label


def _series(slices: int, matrix: int) -> SourceSeries:
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    headers = []
    for index in range(slices):
        header = Dataset()
        header.SOPClassUID, header.SOPInstanceUID = pydicom.uid.CTImageStorage, generate_uid()
        header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = study, series, frame
        header.Modality, header.PatientID, header.Rows, header.Columns = "CT", "B", matrix, matrix
        header.ImageOrientationPatient, header.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.8, 0.8]
        header.ImagePositionPatient, header.SliceThickness = [-200, -200, index], 1
        headers.append(header)
    return source_series(headers)
