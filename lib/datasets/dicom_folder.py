"""DICOM segmentations with the CT series that they lie on, in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.misc import is_dicom

from lib.datasets.checking import StoreTwins
from lib.datasets.chosen import Chosen
from lib.datasets.provenance import Provenance, provenance_of, write_provenance
from lib.dicom_objects.reading import SEGMENTATION_CLASSES, segmentation_facts
from lib.disk import make_folder, write_file
from lib.images.dicom import DAMAGED
from lib.images.files import read_ct_series
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.dicom_label import read_dicom_label
from lib.stores.geometry import Grid

LAYOUT = "dicom"
_CT, _SEG = "ct", "seg"


def write_dicom(root: Path, labels: Sequence[Chosen], store: CaseStore, *, with_images: bool) -> list[Provenance]:
    """Write ``CASE/seg/TASK.dcm`` as it goes to an archive, and the series that it refers to as ``CASE/ct``.

    Images that are no DICOM are written as the series as which the server serves them.

    Args:
        root: a folder.
        labels: what to write.
        store: where it is from.
        with_images: whether the CT series are written too.

    Raises:
        OSError: the disk is full or gone.
        Refusal: a case cannot be a DICOM series.
    """
    rows = []
    for chosen in labels:
        folder = root / chosen.stem
        make_folder(folder / _SEG)
        label = folder / _SEG / f"{chosen.revision.task}.dcm"
        content = BytesIO()
        pydicom.dcmwrite(content, store.segmentation_of(chosen.revision), write_like_original=False)
        write_file(label, content.getvalue())
        images = folder / _CT
        if with_images and not images.is_dir():
            make_folder(images)
            series = store.dicom_identifiers(chosen.revision.image_id)[1]
            store.archive.make_ready(series)
            for header in store.archive.datasets(series):
                file = store.archive.file(str(header.SOPInstanceUID))
                write_file(
                    images / f"{header.SOPInstanceUID}.dcm", file if isinstance(file, bytes) else file.read_bytes()
                )
        of_image = images if with_images else None
        rows.append(provenance_of(chosen.revision, root=root, label=label, image=of_image, facts=chosen.facts))
    write_provenance(root, rows)
    return rows


@dataclass(frozen=True, kw_only=True)
class DicomFile:
    """A DICOM file in a folder.

    Attributes:
        path: where it is.
        series: its SeriesInstanceUID.
        is_label: it is a segmentation, not a slice of a CT.
        refers_to: the series that a segmentation lies on.
    """

    path: Path
    series: str
    is_label: bool
    refers_to: tuple[str, ...] = ()


def is_dicom_folder(root: Path) -> bool:
    """Whether a folder holds a DICOM file at any depth."""
    return any(path.is_file() and is_dicom(path) for path in root.rglob("*"))


def find_dicom(root: Path) -> tuple[list[DicomFile], list[tuple[Path, str]]]:
    """CT slices and segmentations in a folder, and files that cannot be read with the reason."""
    found: list[DicomFile] = []
    faults: list[tuple[Path, str]] = []
    for path in sorted(each for each in root.rglob("*") if each.is_file() and is_dicom(each)):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
            is_label = header.get("SOPClassUID") in SEGMENTATION_CLASSES
            refers_to = segmentation_facts(header).source_series if is_label else ()
            if is_label or header.get("Modality") == "CT":
                series = str(header.SeriesInstanceUID)
                found.append(DicomFile(path=path, series=series, is_label=is_label, refers_to=refers_to))
        except (InvalidDicomError, *DAMAGED) as error:
            faults.append((path, f"It cannot be read as DICOM ({type(error).__name__})."))
    return found, faults


def check_dicom(files: Sequence[DicomFile], store: CaseStore) -> Iterator[tuple[Path, str]]:
    """What is wrong with which file; nothing is written into the store."""
    series: dict[str, list[Path]] = {}
    for file in files:
        if not file.is_label:
            series.setdefault(file.series, []).append(file.path)
    grids: dict[str, Grid] = {}
    known = {uid: store.case_of_series(uid) or uid for uid in series}
    twins = StoreTwins(store, {name: {} for name in known.values()})
    for uid, paths in series.items():
        try:
            image = read_ct_series(paths)
        except Refusal as refusal:
            yield paths[0], str(refusal)
            continue
        grids[uid] = Grid(shape=image.shape, affine=image.affine, file_shape=image.shape)
        for twin in twins.of(known[uid], image):
            yield paths[0], f"It shares {twin.shared} slices with {twin.other}: the same CT under two names."
    for file in files:
        if not file.is_label:
            continue
        grid = next((grids[uid] for uid in file.refers_to if uid in grids), None)
        if grid is not None:
            try:
                read_dicom_label(file.path, grid=grid)
            except Refusal as refusal:
                yield file.path, str(refusal)
        elif not any(uid in series or store.case_of_series(uid) for uid in file.refers_to):
            yield file.path, "There is no CT series to this label, neither here nor in the store."


def take_dicom(files: Sequence[DicomFile], store: CaseStore) -> tuple[int, int]:
    """Take CT series in as they are, and segmentations as labels of who made them; what is there stays.

    Returns:
        How many CT slices and how many labels are new.

    Raises:
        Refusal: one cannot be taken in.
    """
    images = labels = 0
    for file in files:
        if not file.is_label:
            known = store.archive.counts()
            store.archive.add(file.path.read_bytes())
            images += store.archive.counts() != known
    store.archive.scan()
    store.refresh()
    for file in files:
        if file.is_label:
            labels += store.receive(file.path)
    return images, labels
