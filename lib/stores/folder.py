"""What lies in a studies folder: image files, and folders with a DICOM series."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydicom.dataset import Dataset

from lib.images.dicom import holds_dicom
from lib.images.files import IMAGE_SUFFIXES, image_suffix
from lib.refusals import Refusal
from lib.stores.files import signature_of
from lib.stores.names import check_name

OWN_FOLDER = "sarcopenia"
_NOT_CASES = {OWN_FOLDER, "labels"}
# Some file systems keep times to two seconds: a folder that young may change again without looking changed.
_RACY_NS = 2_000_000_000


@dataclass(frozen=True, kw_only=True)
class FoundImage:
    """An image in the studies folder.

    Attributes:
        image_id: the file name without its suffix, or the folder's name.
        file: the name in the studies folder.
        suffix: ``.nii.gz`` and the like, "" for a folder of DICOM.
    """

    image_id: str
    file: str
    suffix: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Everything found in one look at the folder.

    Attributes:
        images: by id; the same id may come with several files, first the preferred one.
        refused: file names that cannot be ids, with the reason.
    """

    images: dict[str, list[FoundImage]]
    refused: dict[str, str]


class ImageSource(Protocol):
    """Where the images of a store come from: files and folders by the names that the table of cases holds."""

    takes_images: bool
    """Whether an image can be added to it."""

    def changes(self, *, force: bool = False) -> Listing | None:
        """A new listing, or ``None`` when nothing has come or gone since the last one."""

    def forget(self) -> None:
        """Give the whole listing again next time, because the last one could not be dealt with."""

    def has(self, file: str) -> bool:
        """Whether an image is there at this moment."""

    def signature(self, file: str) -> str:
        """What changes when an image that is there changes."""

    def path(self, file: str) -> Path:
        """Where an image file lies; for a series the folder, which need not be there."""

    def series(self, file: str) -> AbstractContextManager[Path]:
        """A folder with the DICOM files of a series, for as long as they are needed."""

    def headers(self, file: str) -> list[Dataset] | None:
        """The headers of the images of a series, in any order, or ``None`` where they are in its files."""

    def identifiers(self, file: str) -> tuple[str, str] | None:
        """StudyInstanceUID and SeriesInstanceUID, or ``None`` where they have to be looked up in the files."""

    def take_out(self, file: str) -> bool:
        """Take an image out of the store; ``False`` where its files have to be moved away."""


class StudiesFolder:
    """A studies folder, looked at again only when it may have changed."""

    takes_images = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen_mtime_ns = -1
        self._listed_mtime_ns = -1
        self._names: frozenset[str] = frozenset()
        self._dicom: dict[str, bool] = {}
        self._dicom_mtime_ns: dict[str, int] = {}

    def changes(self, *, force: bool = False) -> Listing | None:
        """A new listing, or ``None`` when nothing has come or gone since the last one.

        Raises:
            Refusal: the folder is gone or cannot be read.
        """
        try:
            mtime_ns = self._path.stat().st_mtime_ns
            filled = self._look_into_folders() if self._dicom else False
            if mtime_ns == self._seen_mtime_ns and not filled and not force:
                return None
            names = frozenset(os.listdir(self._path))  # noqa: PTH208 - names alone, for a hundred thousand files
        except OSError as error:
            raise Refusal(f"The studies folder {self._path} cannot be read: {error.strerror}.", status=503) from error
        racy = abs(time.time_ns() - mtime_ns) < _RACY_NS
        self._seen_mtime_ns = -1 if racy else mtime_ns
        # The same names at another time: one may have gone and come back as another file.
        if names == self._names and mtime_ns == self._listed_mtime_ns and not filled and not force:
            return None
        self._names, self._listed_mtime_ns = names, mtime_ns
        return self._listing()

    def forget(self) -> None:
        """Give the whole listing again next time, because the last one could not be dealt with."""
        self._seen_mtime_ns = -1
        self._names = frozenset()

    def has(self, file: str) -> bool:
        """Whether a file or folder is there at this moment."""
        return (self._path / file).exists()

    def signature(self, file: str) -> str:
        """What changes when a file, or a file directly in a folder, is written again; "" when it is not there."""
        path = self._path / file
        return signature_of(path) if path.exists() else ""

    def path(self, file: str) -> Path:
        """Where a file or folder lies."""
        return self._path / file

    def series(self, file: str) -> AbstractContextManager[Path]:
        """The folder with the DICOM files of a series."""
        return nullcontext(self._path / file)

    def headers(self, file: str) -> list[Dataset] | None:  # noqa: ARG002
        """They are in the files."""
        return None

    def identifiers(self, file: str) -> tuple[str, str] | None:  # noqa: ARG002
        """Not known here."""
        return None

    def take_out(self, file: str) -> bool:  # noqa: ARG002
        """Its files have to be moved away."""
        return False

    def _listing(self) -> Listing:
        images: dict[str, list[FoundImage]] = {}
        refused: dict[str, str] = {}
        with os.scandir(self._path) as entries:
            names = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
        folders = {name for name, is_folder in names if is_folder and name not in _NOT_CASES}
        self._dicom = {name: self._dicom.get(name, False) for name in folders}
        self._look_into_folders()
        for name, is_folder in names:
            suffix = "" if is_folder else image_suffix(name)
            if not suffix and not self._dicom.get(name):
                continue
            image_id = name[: len(name) - len(suffix)]
            try:
                check_name(image_id, what="image id")
            except Refusal as refusal:
                refused[name] = str(refusal)
                continue
            images.setdefault(image_id, []).append(FoundImage(image_id=image_id, file=name, suffix=suffix))
        order = [*IMAGE_SUFFIXES, ""]
        for found in images.values():
            if len(found) > 1:
                found.sort(key=lambda image: (order.index(image.suffix), image.file))
        return Listing(images=images, refused=refused)

    def _look_into_folders(self) -> bool:
        """Look for DICOM in folders that had none; their filling does not touch the studies folder's own time."""
        filled = False
        for name, is_case in self._dicom.items():
            if is_case:
                continue
            folder = self._path / name
            try:
                mtime_ns = folder.stat().st_mtime_ns
                if self._dicom_mtime_ns.get(name) == mtime_ns:
                    continue
                racy = abs(time.time_ns() - mtime_ns) < _RACY_NS
                self._dicom_mtime_ns[name] = -1 if racy else mtime_ns
                self._dicom[name] = holds_dicom(folder)
            except OSError:
                continue  # it vanished, or may not be read: no case
            filled |= self._dicom[name]
        return filled
