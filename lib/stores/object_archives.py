"""Where DICOM objects made from labels go, and those of other programs come from: a folder, or a DICOMweb server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol

import pydicom
from pydicom.dataset import Dataset

from lib.disk import make_folder, write_file
from lib.stores.files import storage_faults
from lib.stores.pacs import Pacs


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an object is: the identifiers of its study ("" where a folder does not tell), its series and itself."""

    study: str
    series: str
    sop: str


class ObjectArchive(Protocol):
    """Keeps DICOM objects under their identifiers; one that is there is never replaced."""

    def holds(self, place: Place) -> bool:
        """Whether an object is there."""

    def store(self, dataset: Dataset) -> None:
        """Store an object that survives a power cut from then on.

        Raises:
            Refusal: 503 or 507, when it cannot be stored now.
        """

    def segmentations(self) -> Iterator[Place]:
        """Objects that may be segmentations, those of this program as well."""

    def fetch(self, place: Place, target: Path) -> None:
        """Write an object to a file.

        Raises:
            Refusal: 503, when it cannot be had now.
        """


class FolderObjects:
    """A folder with a sub-folder for each series.

    Args:
        folder: made when it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def holds(self, place: Place) -> bool:
        """Whether there is such a file."""
        return self._path(place.series, place.sop).exists()

    def store(self, dataset: Dataset) -> None:
        """Write the object in one step."""
        path = self._path(str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID))
        if path.exists():
            return
        content = BytesIO()
        pydicom.dcmwrite(content, dataset, write_like_original=False)
        with storage_faults():
            make_folder(path.parent)
            write_file(path, content.getvalue())

    def segmentations(self) -> Iterator[Place]:
        """Every file."""
        for path in sorted(self._folder.glob("*/*.dcm")):
            yield Place(study="", series=path.parent.name, sop=path.stem)

    def fetch(self, place: Place, target: Path) -> None:
        """Copy the file."""
        with storage_faults():
            target.write_bytes(self._path(place.series, place.sop).read_bytes())

    def _path(self, series: str, sop: str) -> Path:
        return self._folder / series / f"{sop}.dcm"


class PacsObjects:
    """A DICOMweb server.

    Args:
        pacs: the server.
    """

    def __init__(self, pacs: Pacs) -> None:
        self._pacs = pacs
        self._listed: dict[str, tuple[int, list[str]]] = {}

    def holds(self, place: Place) -> bool:
        """Whether the server has it."""
        return self._pacs.holds(place.study, place.series, place.sop)

    def store(self, dataset: Dataset) -> None:
        """Send it."""
        self._pacs.store(dataset)

    def segmentations(self) -> Iterator[Place]:
        """Every instance of every series of modality SEG; a series is listed again when it has grown."""
        for item in self._pacs.series("SEG"):
            study, series = str(item.StudyInstanceUID), str(item.SeriesInstanceUID)
            count = int(item.get("NumberOfSeriesRelatedInstances") or 0)
            listed, sops = self._listed.get(series, (0, []))
            if not count or listed != count:
                sops = self._pacs.instances(study, series)
                self._listed[series] = (count, sops)
            yield from (Place(study=study, series=series, sop=sop) for sop in sops)

    def fetch(self, place: Place, target: Path) -> None:
        """Fetch it."""
        self._pacs.fetch_instance(place.study, place.series, place.sop).save_as(target, write_like_original=False)
