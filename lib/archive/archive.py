"""The images of a studies folder as a DICOM archive: found in any layout, searched, read and added to."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.uid import ExplicitVRLittleEndian

from lib.archive.headers import PIXELS, Instance, is_instance, read_instance
from lib.archive.index import ArchiveIndex
from lib.archive.pixels import frame_values, plain_frame, stored_frame
from lib.archive.volumes import FrameCopies, Volume, headers, read_volume_header, series_and_frame, series_attributes
from lib.background import Repeating
from lib.disk import make_folder, sync_folder
from lib.images.dicom import DAMAGED, said_of
from lib.images.faults import refusing_passing_faults
from lib.images.files import image_suffix
from lib.refusals import BadImage, Refusal

_NOT_LOOKED_INTO = ("sarcopenia", "labels")  # what the store, and MONAI Label before it, keep there
_OBJECTS = "sarcopenia/dicom"
_BATCH = 64
_LOOK_EVERY_S = 2.0
_SHARE = 20  # a walk through the folder takes at most one twentieth of the time
_COPIES_BYTES = 8 << 30
_FIRST_SCAN_S = 3.0
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_LONGEST_UID = 64
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")

_NO_FILE = (-1, -1)
_Found = Instance | Volume | str | None

logger = logging.getLogger(__name__)


class Archive:
    """The DICOM files in a studies folder, and its NIfTI and NRRD files as the series that they would be.

    Nothing is read while it is made: :meth:`begin` starts looking in the background, and what is found is kept in a
    file of its own, so that a later start looks only at what has changed.

    Args:
        studies: the folder with the images.
        own: the folder beside them in which this program keeps what it makes.
    """

    def __init__(self, studies: Path, own: Path) -> None:
        self._studies = studies
        self._objects = studies / _OBJECTS
        self._index = ArchiveIndex(own / "archive.sqlite")
        self._copies = FrameCopies(own / "frames", limit_bytes=_COPIES_BYTES)
        self._scanned = threading.Event()
        self._scanning = threading.Lock()
        self._next_scan = 0.0
        self._unnamed: set[str] = set()
        self._repeating: Repeating | None = None
        self.received: Callable[[Path], object] | None = None
        """Told of every stored object that is no image, such as a SEG; who stored it hears what it refuses."""

    # Looking at the folder

    def begin(self) -> None:
        """Look at the folder now and again, in a thread."""
        self._repeating = Repeating("archive", [self._scan_when_due], every_s=_LOOK_EVERY_S)
        self._repeating.begin()

    def wait(self) -> None:
        """Give the first look at the folder a moment, for whoever asks just after the start."""
        if self._repeating is not None:
            self._scanned.wait(_FIRST_SCAN_S)

    def scan(self) -> None:
        """Look at every file that is new or has changed."""
        with self._scanning:
            started = time.monotonic()
            known = self._index.known_files()
            there = dict(self._walk())
            self._next_scan = time.monotonic() + _SHARE * (time.monotonic() - started)
            gone = known.keys() - there.keys()
            if gone:
                with self._index.writing() as connection:
                    self._index.forget(connection, gone)
            fresh = sorted(path for path, signature in there.items() if known.get(path) != signature)
            for begin in range(0, len(fresh), _BATCH):
                batch = fresh[begin : begin + _BATCH]
                looks = {path: self._look_at(path, there[path]) for path in batch}
                with self._index.writing() as connection:
                    for path, (signature, found) in looks.items():
                        self._index.note(connection, path, signature, found)
            self._index.note_complete()
            self._scanned.set()

    def _scan_when_due(self) -> None:
        if time.monotonic() >= self._next_scan:
            self.scan()

    def _walk(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Every file that may be an image, with its size and modification time.

        Raises:
            OSError: the studies folder cannot be read now.
        """
        folders, seen = [""], set()
        while folders:
            folder = folders.pop()
            try:
                stat = (self._studies / folder).stat()
                with os.scandir(self._studies / folder) as listing:
                    entries = [entry for entry in listing if not entry.name.startswith(".")]
            except OSError as error:
                if not folder:
                    raise
                logger.warning("The folder %s cannot be looked at: %s", folder, error.strerror)
                continue
            if (stat.st_dev, stat.st_ino) in seen:
                continue  # a link led here again
            seen.add((stat.st_dev, stat.st_ino))
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir():
                    if path not in _NOT_LOOKED_INTO:
                        folders.append(path)
                elif (not folder or not image_suffix(entry.name)) and (about := self._about(entry)):
                    yield path, about
            if not folder and self._objects.is_dir():
                folders.append(_OBJECTS)

    def _about(self, entry: os.DirEntry[str]) -> tuple[int, int] | None:
        """Size and modification time of a file; ``None`` for one that has gone, or whose name is no text."""
        try:
            entry.name.encode()
            stat = entry.stat()
        except UnicodeEncodeError:
            if entry.name not in self._unnamed:
                self._unnamed.add(entry.name)
                logger.warning("A file is not served, its name is no Unicode text: %a", entry.name)
            return None
        except OSError:
            return None  # a link to nowhere, or it has just been removed
        return stat.st_size, stat.st_mtime_ns

    def _look_at(self, path: str, signature: tuple[int, int]) -> tuple[tuple[int, int], _Found]:
        """What a file is: an instance, a volume, why it is neither, or no image at all.

        Returns:
            The signature to keep (that of no file when it could not be read now, so that it is tried again), and it.
        """
        full = self._studies / path
        try:
            if image_suffix(path):
                return signature, read_volume_header(full)
            if is_instance(full):
                return signature, read_instance(full, name=path)
        except BadImage as refusal:
            return signature, str(refusal)
        except OSError as error:
            return _NO_FILE, f"{path} cannot be read now ({error.strerror})."
        return signature, f"{path} is damaged: it is no DICOM." if full.suffix.lower() in _DICOM_SUFFIXES else None

    def refused(self) -> list[tuple[str, str]]:
        """Files that are not served, each with a sentence why."""
        return self._index.refused()

    def counts(self) -> dict[str, int]:
        """How many files were looked at, and how many of what are served."""
        return self._index.counts()

    # Searching

    def series(self, study: str | None = None) -> Iterator[dict[str, Any]]:
        """What is known of every series, and of its study and patient, as DICOM JSON; those of a study in a row."""
        yield from self._index.series(study=study)
        for outline in self._index.outlines(study=study):
            yield series_attributes(outline)

    def headers(self, study: str, series: str | None = None, sop: str | None = None) -> list[bytes]:
        """The headers of instances as DICOM JSON objects, in the order of their series and numbers.

        Bulk data are given as a BulkDataURI of :data:`lib.archive.headers.BULK` and the tag.
        """
        found = self._index.headers(study=study, series=series, sop=sop)
        for volume in self._index.volumes(study=study, series=series):
            if sop is None:
                found += _volume_headers(volume)
            elif (place := series_and_frame(sop)) and place[0] == volume.series and place[1] < volume.frames:
                found.append(_volume_headers(volume)[place[1]])
        return found

    def datasets(self, series: str) -> list[pydicom.Dataset]:
        """The headers of a series without pixels, in the order of their numbers, as what refers to them needs them."""
        volumes = self._index.volumes(series=series)
        if volumes:
            return [_as_dataset(header) for header in headers(volumes[0])]
        found = self._index.instances(series=series)
        return [pydicom.dcmread(self._studies / each.path, stop_before_pixels=True) for each in found]

    # Reading

    def frame(self, sop: str, number: int, *, plain: bool = False) -> tuple[bytes, str]:
        """A frame.

        Args:
            sop: the instance.
            number: which frame, from 0.
            plain: whether it is wanted without compression.

        Returns:
            The pixels and the UID of the transfer syntax that they are in.

        Raises:
            Refusal: 404, when there is none; or the file is damaged.
        """
        if (virtual := self._volume_of(sop)) is not None:
            volume, k = virtual
            if number != 0:
                raise Refusal(f"There is one frame in an instance of {volume.path}.", status=404)
            with refusing_passing_faults(volume.path):
                pixels = self._copies.frame(volume, k, source=self._studies / volume.path)
            return pixels, str(ExplicitVRLittleEndian)
        instance = self.instance(sop)
        with refusing_passing_faults(instance.path):
            path = self._studies / instance.path
            if plain:
                return plain_frame(path, instance, number), str(ExplicitVRLittleEndian)
            return stored_frame(path, instance, number)

    def values(self, sop: str, number: int) -> tuple[npt.NDArray, dict[str, Any]]:
        """A frame as numbers of (row, column) or (row, column, colour), not rescaled, and the header.

        Raises:
            Refusal: as :meth:`frame`.
        """
        if (virtual := self._volume_of(sop)) is not None:
            volume, k = virtual
            pixels, _ = self.frame(sop, number)
            shown = np.frombuffer(pixels, "<i2").reshape(volume.rows, volume.columns)
            return shown, json.loads(_volume_headers(volume)[k])
        instance = self.instance(sop)
        with refusing_passing_faults(instance.path):
            return frame_values(self._studies / instance.path, instance, number), instance.header

    def file(self, sop: str) -> bytes | Path:
        """An instance as a DICOM file: its path, or the content of one that is made of an image file.

        Raises:
            Refusal: 404, when there is none; or the image is damaged.
        """
        if (virtual := self._volume_of(sop)) is not None:
            volume, k = virtual
            dataset = _as_dataset(json.loads(_volume_headers(volume)[k]))
            dataset.PixelData = self.frame(sop, 0)[0]
            dataset["PixelData"].VR = "OW"
            return _file_of(dataset)
        return self._studies / self.instance(sop).path

    def bulk(self, sop: str, tag: int) -> bytes:
        """The value of an element that is too large for the header.

        Raises:
            Refusal: 404, when there is none; or the file is damaged.
        """
        content = self.file(sop)
        name = content.name if isinstance(content, Path) else sop
        try:
            dataset = pydicom.dcmread(content if isinstance(content, Path) else io.BytesIO(content))
            value = dataset[tag].value
        except KeyError as error:
            raise Refusal(f"{name} has no element {tag:08X}.", status=404) from error
        except DAMAGED as error:
            raise BadImage(f"{name} is damaged ({said_of(error)}).") from error
        return value if isinstance(value, bytes) else bytes(str(value), "utf-8")

    def instance(self, sop: str) -> Instance:
        """What the index keeps of a DICOM file.

        Raises:
            Refusal: 404, when there is none.
        """
        found = self._index.instances(sop=sop)
        if not found:
            raise Refusal(f"There is no instance {sop[:_LONGEST_UID]}.", status=404)
        return found[0]

    def files_of(self, series: str) -> list[Path]:
        """The DICOM files of a series."""
        return [self._studies / each.path for each in self._index.instances(series=series)]

    def make_ready(self, series: str) -> None:
        """Make the copy of an image file that its frames are read from, before they are asked for.

        Raises:
            Refusal: the file is damaged.
        """
        for volume in self._index.volumes(series=series):
            with refusing_passing_faults(volume.path):
                self._copies.ready(volume, source=self._studies / volume.path)

    def _volume_of(self, sop: str) -> tuple[Volume, int] | None:
        place = series_and_frame(sop)
        volumes = self._index.volumes(series=place[0]) if place else []
        if not place or not volumes:
            return None
        if not 0 <= place[1] < volumes[0].frames:
            raise Refusal(f"There is no instance {sop}.", status=404)
        return volumes[0], place[1]

    # Cases

    def state(self) -> tuple[int, bool]:
        """A number that grows with every change of DICOM files, and whether all files have been looked at once."""
        return self._index.state()

    def bodies(self) -> dict[str, list[str]]:
        """The DICOM series that are a CT of the body, each with the folders (with "/") that its files lie in."""
        return self._index.bodies()

    def case_of(self, series: str) -> str | None:
        """The id of the case that is an image file, or a folder with this one series; else ``None``."""
        if not is_uid(series):
            return None
        volumes = self._index.volumes(series=series)
        if volumes:
            return volumes[0].case_id
        folder = only_folder(self._index.bodies(series).get(series, []))
        return folder if folder and len(self._index.bodies_in(folder)) == 1 else None

    def series_of_case(self, file: str, uid: str | None = None) -> tuple[str, str] | None:
        """StudyInstanceUID and SeriesInstanceUID of a case, or ``None`` when it cannot be served.

        Args:
            file: the name in the studies folder, of an image file or of a folder of DICOM.
            uid: the series, where the folder may have several.
        """
        if image_suffix(file):
            volumes = self._index.volumes(path=file)
            if not volumes:
                self._look_now(file)
                volumes = self._index.volumes(path=file)
            return (volumes[0].study, volumes[0].series) if volumes else None
        if uid is not None:
            study = self._index.study_of(uid)
            return (study, uid) if study else None
        found = self._index.bodies_in(file)
        return (found[0][1], found[0][0]) if len(found) == 1 else None

    def why_not(self, file: str) -> str:
        """Why a case is not served, or ""; of a folder the reason of its first file.

        Args:
            file: as in :meth:`series_of_case`.
        """
        return self._index.reason(file)

    def _look_now(self, path: str) -> None:
        """Take a file in before the next scan comes to it."""
        try:
            about = (self._studies / path).stat()
        except OSError:
            return  # it has just gone
        signature, found = self._look_at(path, (about.st_size, about.st_mtime_ns))
        with self._index.writing() as connection:
            self._index.note(connection, path, signature, found)

    # Adding

    def path_of(self, instance: Instance) -> Path:
        """Where the file of an instance lies."""
        return self._studies / instance.path

    def add(self, content: bytes, *, study: str | None = None) -> Instance:
        """Keep a DICOM file: a CT in the studies folder, where it becomes a case; anything else beside the labels.

        Args:
            content: of the file.
            study: the study that it has to be of, or ``None`` for any.

        Returns:
            What it is. The same file again changes nothing.

        Raises:
            Refusal: 422, when it is damaged or lacks identifiers; 409, when another object has its SOPInstanceUID; 507,
                when the disk refuses.
        """
        make_folder(self._objects)
        part = self._objects / f".{time.time_ns()}-{threading.get_ident()}.part"
        try:
            with part.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new = _checked(part)
            if study not in (None, new.study):
                raise Refusal(f"What was sent is of the study {new.study}, not of {study}.", status=409)
            same = self._index.instances(sop=new.sop)
            if same:
                if (self._studies / same[0].path).read_bytes() == content:
                    return same[0]
                raise Refusal(f"Another object has the SOPInstanceUID {new.sop} already.", status=409)
            folder = self._folder_for(new)
            target = self._studies / folder / f"{new.sop}.dcm"
            make_folder(target.parent)
            part.replace(target)
            sync_folder(target.parent)
        except OSError as error:
            raise Refusal(f"Nothing was stored, the disk refused: {error.strerror or error}.", status=507) from error
        finally:
            part.unlink(missing_ok=True)
        self._look_now(f"{folder}/{new.sop}.dcm")
        return self.instance(new.sop)

    def _folder_for(self, new: Instance) -> str:
        """Where an image of the same series lies already; a folder of its own for a new series of images."""
        places = [folder for folder, _ in self._index.places(new.series)]
        if len(places) == 1 and places[0]:
            return places[0]
        return new.series if new.modality == "CT" else f"{_OBJECTS}/{new.series}"


def only_folder(folders: list[str]) -> str | None:
    """The folder directly in the studies folder that holds all files of a series; ``None`` for any other place."""
    return folders[0] if len(folders) == 1 and folders[0] and "/" not in folders[0] else None


def is_uid(text: str) -> bool:
    """Whether a text has the form of a DICOM identifier."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def _checked(part: Path) -> Instance:
    """A received file that can be kept under its identifiers.

    Raises:
        BadImage: it cannot.
    """
    if not is_instance(part):
        raise BadImage("What was sent is no DICOM file.")
    try:
        new = read_instance(part, name="What was sent")
    except BadImage as refusal:
        raise BadImage(str(refusal).replace(part.name, "What was sent")) from refusal
    if new is None:
        raise BadImage("What was sent is the directory of a medium (DICOMDIR) and holds no object.")
    wrong = next((uid for uid in (new.sop, new.series, new.study) if not is_uid(uid)), None)
    if wrong:
        raise BadImage(f"What was sent has the identifier {wrong[:80]!r}, which is none.")
    return new


@lru_cache(maxsize=16)
def _volume_headers(volume: Volume) -> list[bytes]:
    return [json.dumps(header | PIXELS, separators=(",", ":")).encode() for header in headers(volume)]


def _as_dataset(header: dict[str, Any]) -> pydicom.Dataset:
    dataset = pydicom.Dataset.from_json({tag: value for tag, value in header.items() if "BulkDataURI" not in value})
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    return dataset


def _file_of(dataset: pydicom.Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, write_like_original=False)
    return buffer.getvalue()
