"""Images from a DICOMweb server: which of its series are cases, and fetching them when they are asked for."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from requests.adapters import HTTPAdapter
from sqlalchemy import select, update

from lib.disk import make_folder, write_json
from lib.refusals import Refusal
from lib.stores.folder import FoundImage, Listing
from lib.stores.index import SERIES, SETTINGS, StoreIndex, get_setting

_PAGE = 500
_BATCH = 50
_FAILURES = 3
_TIMEOUT_S = (10.0, 300.0)  # to connect, and between two pieces of an answer
_AXIAL = 0.85
"""Cosine of the angle between the body's axis and the normal of an axial slice, at least; a gantry tilts up to 30°."""
_GENERATION = "series_generation"


@dataclass(frozen=True, kw_only=True)
class PacsOptions:
    """How a DICOMweb server is reached, and what of it is wanted.

    Attributes:
        url: of its DICOMweb root.
        user: "" where none is needed.
        password_file: a file with the user's password, "" for none.
        ca_file: a file with the certificates that vouch for the server; "" for those of the system.
        min_slices: a series with fewer is no case.
        query: further attributes to search series by, such as ``StudyDate``.
        cache_bytes: what converted images may take; those that were not used for longest are deleted.
        every_s: seconds between two questions after new series and segmentations.
    """

    url: str
    user: str = ""
    password_file: str = ""
    ca_file: str = ""
    min_slices: int = 10
    query: Mapping[str, str] = field(default_factory=dict)
    cache_bytes: int = 20 << 30
    every_s: float = 30.0

    @classmethod
    def from_conf(cls, conf: Mapping[str, str], *, url: str) -> PacsOptions:
        """Read and check the options ``pacs_...``.

        Raises:
            Refusal: one cannot have that value.
        """
        found: dict[str, Any] = {}
        for name, kind, least in (("min_slices", int, 1), ("cache_gb", float, 0), ("every_s", float, 1)):
            said = conf.get(f"pacs_{name}")
            if said:
                try:
                    found[name] = kind(said)
                except ValueError as error:
                    raise Refusal(f"pacs_{name} is a number, not {said!r}.") from error
                if not least <= found[name] < 1e6:
                    raise Refusal(f"pacs_{name} is at least {least}, not {said}.")
        if "cache_gb" in found:
            found["cache_bytes"] = int(found.pop("cache_gb") * (1 << 30))
        query = [each.partition("=") for each in (conf.get("pacs_query") or "").split(",") if each.strip()]
        if wrong := [name for name, _, value in query if not value or not tag_for_keyword(name.strip())]:
            raise Refusal(f"pacs_query is like StudyDate=20250101-20251231,PatientID=A*; {wrong[0]!r} is not.")
        ca_file = conf.get("pacs_ca") or ""
        if ca_file and not Path(ca_file).is_file():
            raise Refusal(f"pacs_ca is a file of certificates; there is no {ca_file}.")
        options = cls(
            url=url,
            user=conf.get("pacs_user") or "",
            password_file=conf.get("pacs_password_file") or "",
            ca_file=ca_file,
            query={name.strip(): value.strip() for name, _, value in query},
            **found,
        )
        options.password()
        return options

    def password(self) -> str:
        """The password in its file.

        Raises:
            Refusal: it cannot be read.
        """
        if not self.password_file:
            return ""
        try:
            return Path(self.password_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            sentence = f"pacs_password_file is a file with a password; {self.password_file} cannot be read."
            raise Refusal(sentence) from error

    def keep(self, file: Path) -> None:
        """Write them to a file, so that a workspace can be opened without naming its PACS again."""
        write_json(file, asdict(self))

    @classmethod
    def kept(cls, file: Path) -> PacsOptions | None:
        """What was kept, or ``None``.

        Raises:
            Refusal: the file is damaged.
        """
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise Refusal(f"{file} is damaged; start the server on the PACS once more.", status=503) from error


PACS_OPTIONS = ("user", "password_file", "ca", "min_slices", "query", "cache_gb", "every_s")
"""The names of the options, without the ``pacs_`` before them."""


class _Adapter(HTTPAdapter):
    """Gives up on a server that does not answer, and trusts the certificates that were named, if any were.

    The session's own setting would give way to REQUESTS_CA_BUNDLE in the environment.
    """

    def __init__(self, ca_file: str = "") -> None:
        super().__init__()
        self._ca_file = ca_file

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        kwargs["timeout"] = kwargs.get("timeout") or _TIMEOUT_S
        if self._ca_file:
            kwargs["verify"] = self._ca_file
        return super().send(request, **kwargs)


class Pacs:
    """A DICOMweb server (QIDO-RS, WADO-RS, STOW-RS).

    Args:
        options: how it is reached.
    """

    def __init__(self, options: PacsOptions) -> None:
        session = requests.Session()
        session.mount("http://", _Adapter())
        session.mount("https://", _Adapter(options.ca_file))
        if options.user:
            session.auth = (options.user, options.password())
        self.url = options.url.rstrip("/")
        self._session = session
        self._client = DICOMwebClient(self.url, session=session)
        self._client.set_http_retry_params(retry=False)  # whoever asks tries again
        self._query = dict(options.query)

    def series(self, modality: str) -> list[Dataset]:
        """What the server says of all its series of a modality.

        Raises:
            Refusal: 503, when it does not answer.
        """
        fields = ["NumberOfSeriesRelatedInstances"]
        found: dict[str, Dataset] = {}
        with _answers():
            for offset in range(0, 1 << 31, _PAGE):
                page = self._client.search_for_series(
                    search_filters={"Modality": modality, **self._query}, fields=fields, limit=_PAGE, offset=offset
                )
                new = [Dataset.from_json(item) for item in page]
                known = len(found)
                found |= {str(item.SeriesInstanceUID): item for item in new}
                if len(new) < _PAGE or len(found) == known:  # not every server knows about offsets
                    break
        return list(found.values())

    def instances(self, study: str, series: str) -> list[str]:
        """The SOPInstanceUIDs of a series.

        Raises:
            Refusal: 503, when it does not answer.
        """
        with _answers():
            found = self._client.search_for_instances(study, series)
            return [str(Dataset.from_json(item).SOPInstanceUID) for item in found]

    def first_header(self, study: str, series: str) -> Dataset:
        """The header of one instance of a series.

        Raises:
            Refusal: 503, when it does not answer.
        """
        with _answers():
            found = self._client.search_for_instances(study, series, limit=1)
            sop = str(Dataset.from_json(found[0]).SOPInstanceUID)
            return _header(self._client.retrieve_instance_metadata(study, series, sop))

    def headers(self, study: str, series: str) -> list[Dataset]:
        """The headers of all instances of a series.

        Raises:
            Refusal: 503, when it does not answer.
        """
        with _answers():
            return [_header(item) for item in self._client.retrieve_series_metadata(study, series)]

    def fetch(self, study: str, series: str, folder: Path) -> int:
        """Write all instances of a series to a folder.

        Returns:
            How many there are.

        Raises:
            Refusal: 503, when it does not answer.
        """
        count = 0
        with _answers():
            for count, dataset in enumerate(self._client.iter_series(study, series), start=1):  # noqa: B007
                dataset.save_as(folder / f"{dataset.SOPInstanceUID}.dcm", write_like_original=False)
        return count

    def fetch_instance(self, study: str, series: str, sop: str) -> Dataset:
        """An instance.

        Raises:
            Refusal: 503, when it does not answer.
        """
        with _answers():
            return self._client.retrieve_instance(study, series, sop)

    def holds(self, study: str, series: str, sop: str) -> bool:
        """Whether an instance is there.

        Raises:
            Refusal: 503, when it does not answer.
        """
        with _answers():
            found = self._client.search_for_instances(study, series, search_filters={"SOPInstanceUID": sop})
        return any(str(Dataset.from_json(item).SOPInstanceUID) == sop for item in found)

    def store(self, dataset: Dataset) -> None:
        """Store an object; one that is there already stays as it is.

        Raises:
            Refusal: 503, when it does not answer, or does not take the object.
        """
        with _answers():
            answer = self._client.store_instances([dataset])
        stored = [str(item.ReferencedSOPInstanceUID) for item in answer.get("ReferencedSOPSequence") or []]
        if str(dataset.SOPInstanceUID) not in stored:
            failed = answer.get("FailedSOPSequence") or [Dataset()]
            why = failed[0].get("FailureReason")
            raise Refusal(f"The PACS did not take the object (reason {why}).", status=503)

    def forward(
        self, method: str, path: str, *, query: str, headers: Mapping[str, str], body: bytes
    ) -> requests.Response:
        """Send on somebody's request, and give the answer before its body is read.

        Args:
            method: GET or POST.
            path: below the DICOMweb root.
            query: what stands behind the question mark, or "".
            headers: to send with it.
            body: of a POST.

        Raises:
            Refusal: 503, when the server does not answer, or does not let us in.
        """
        url = f"{self.url}/{path}" + (f"?{query}" if query else "")
        with _answers():
            answer = self._session.request(method, url, headers=dict(headers), data=body or None, stream=True)
            if answer.status_code in (401, 403):
                answer.raise_for_status()
        return answer


def _header(item: Mapping[str, Any]) -> Dataset:
    plain = {tag: value for tag, value in item.items() if "BulkDataURI" not in value and "InlineBinary" not in value}
    return Dataset.from_json(plain)


@contextmanager
def _answers() -> Iterator[None]:
    """Say in a sentence that a server does not answer as it should.

    Raises:
        Refusal: 503.
    """
    try:
        yield
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            sentence = "The PACS refuses this user and password (--conf pacs_user, pacs_password_file)."
        else:
            sentence = f"The PACS refused with the status {status}."
        raise Refusal(sentence, status=503) from error
    except requests.exceptions.SSLError as error:
        sentence = "The certificate of the PACS is not trusted (--conf pacs_ca FILE)."
        raise Refusal(sentence, status=503) from error
    except requests.RequestException as error:
        raise Refusal(f"The PACS does not answer ({type(error).__name__}).", status=503) from error
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        said = " ".join(str(error).split())[:120]
        raise Refusal(f"The PACS gave an answer that is no DICOMweb ({said}).", status=503) from error


class Tries:
    """Lets a server fail at some of many questions, but not at several in a row: then it is away."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._first: Refusal | None = None

    @property
    def are_over(self) -> bool:
        """Whether it makes no sense to go on."""
        return self._in_a_row >= _FAILURES

    def __enter__(self) -> None:
        self._in_a_row += 1

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Refusal) and error.status_code in (503, 507):
            self._first = self._first or error
            return True
        self._in_a_row = 0
        return False

    def tell(self) -> None:
        """Raise the first failure, if there was one."""
        if self._first is not None:
            raise self._first


class PacsImages:
    """The series of a PACS as the images of a store; a case's id is its SeriesInstanceUID.

    Args:
        pacs: the server.
        index: of the store; it keeps what is known of every series.
        scratch: a folder for series that are being converted.
        min_slices: a series with fewer is no case.
    """

    takes_images = False

    def __init__(self, pacs: Pacs, index: StoreIndex, scratch: Path, *, min_slices: int) -> None:
        self._pacs = pacs
        self._index = index
        self._scratch = scratch
        self._min_slices = min_slices
        self._seen = ""
        make_folder(scratch)

    def refresh(self) -> None:
        """Ask the server which CT series it has; one that is new is looked at once, to know whether it is wanted.

        Raises:
            Refusal: 503, when it does not answer; what was known stays.
        """
        listed = {str(item.SeriesInstanceUID): item for item in self._pacs.series("CT")}
        with self._index.reading() as connection:
            known = {row.uid: row for row in connection.execute(select(SERIES))}
        self._write(gone=[uid for uid, row in known.items() if row.there and uid not in listed])
        rows: list[dict[str, Any]] = []
        tries = Tries()
        for uid, item in listed.items():
            study, count = str(item.StudyInstanceUID), int(item.get("NumberOfSeriesRelatedInstances") or 0)
            row = known.get(uid)
            if row is not None and row.there and row.instances == count:
                continue
            with tries:
                count = count or len(self._pacs.instances(study, uid))
                reason = self._reason(study, uid, count)
                about = {"uid": uid, "study_uid": study, "instances": count, "there": True, "reason": reason}
                rows.append(about | {"removed": bool(row and row.removed)})
            if len(rows) >= _BATCH or tries.are_over:
                self._write(rows)
                rows = []
            if tries.are_over:
                break
        self._write(rows)
        tries.tell()

    def _write(self, rows: Sequence[dict[str, Any]] = (), gone: Sequence[str] = ()) -> None:
        if not rows and not gone:
            return
        with self._index.writing() as connection:
            for row in rows:
                connection.execute(self._index.upsert(SERIES, row))
            for uid in gone:
                connection.execute(update(SERIES).where(SERIES.c.uid == uid).values(there=False))
            stamp = {"key": _GENERATION, "value": str(time.time_ns())}
            connection.execute(self._index.upsert(SETTINGS, stamp))

    def _reason(self, study: str, series: str, count: int) -> str:
        """Why a series is no case, or ""."""
        header = self._pacs.first_header(study, series)
        slices = count * int(header.get("NumberOfFrames") or 1)
        if slices < self._min_slices:
            return f"It has {slices} slices; {self._min_slices} are wanted at least (--conf pacs_min_slices)."
        return why_unwanted(header)

    def studies(self) -> set[str]:
        """The StudyInstanceUIDs of the cases."""
        wanted = (SERIES.c.there, ~SERIES.c.removed, SERIES.c.reason == "")
        with self._index.reading() as connection:
            return set(connection.execute(select(SERIES.c.study_uid).where(*wanted)).scalars())

    def unwanted(self) -> dict[str, str]:
        """The SeriesInstanceUIDs of CT series that are no cases, with the reason."""
        with self._index.reading() as connection:
            query = select(SERIES.c.uid, SERIES.c.reason).where(SERIES.c.there, SERIES.c.reason != "")
            return {row.uid: row.reason for row in connection.execute(query.order_by(SERIES.c.uid))}

    def changes(self, *, force: bool = False) -> Listing | None:
        """A new listing, or ``None`` when nothing has come or gone since the last one."""
        with self._index.reading() as connection:
            generation = get_setting(connection, _GENERATION)
            if generation == self._seen and not force:
                return None
            wanted = (SERIES.c.there, ~SERIES.c.removed, SERIES.c.reason == "")
            uids = list(connection.execute(select(SERIES.c.uid).where(*wanted)).scalars())
        self._seen = generation
        return Listing(images={uid: [FoundImage(image_id=uid, file=uid, suffix="")] for uid in uids}, refused={})

    def forget(self) -> None:
        """Give the whole listing again next time."""
        self._seen = "none"

    def has(self, file: str) -> bool:
        """Whether the server had a series when it was asked last, and it is wanted."""
        row = self._row(file)
        return row is not None and row.there and not row.removed and not row.reason

    def signature(self, file: str) -> str:
        """How many images a series has."""
        row = self._row(file)
        return "" if row is None else f"{row.instances} images"

    def path(self, file: str) -> Path:
        """No such file: a series is fetched when it is needed."""
        return self._scratch / file

    def series(self, file: str) -> AbstractContextManager[Path]:
        """A folder into which a series is fetched, deleted afterwards.

        Raises:
            Refusal: 503, when the server does not answer or did not send all of it.
        """
        return self._fetched(file)

    @contextmanager
    def _fetched(self, file: str) -> Iterator[Path]:
        row = self._known(file)
        with tempfile.TemporaryDirectory(dir=self._scratch, prefix=f"{time.time_ns()}-") as name:
            folder = Path(name) / file
            folder.mkdir()
            count = self._pacs.fetch(row.study_uid, file, folder)
            if count < row.instances:
                raise Refusal(f"The PACS sent {count} of {row.instances} images of the series {file}.", status=503)
            yield folder

    def headers(self, file: str) -> list[Dataset] | None:
        """The headers of the images of a series.

        Raises:
            Refusal: 503, when the server does not answer.
        """
        return self._pacs.headers(self._known(file).study_uid, file)

    def identifiers(self, file: str) -> tuple[str, str] | None:
        """StudyInstanceUID and SeriesInstanceUID."""
        row = self._row(file)
        return None if row is None else (str(row.study_uid), file)

    def take_out(self, file: str) -> bool:
        """Take a series out of the store; the server keeps it."""
        with self._index.writing() as connection:
            connection.execute(update(SERIES).where(SERIES.c.uid == file).values(removed=True))
        return True

    def _row(self, file: str) -> Any:
        with self._index.reading() as connection:
            return connection.execute(select(SERIES).where(SERIES.c.uid == file)).first()

    def _known(self, file: str) -> Any:
        row = self._row(file)
        if row is None:
            raise Refusal(f"The PACS has no series {file}.", status=404)
        return row


def why_unwanted(header: Dataset) -> str:
    """Why a CT series is no case by one of its headers, or ""."""
    if "LOCALIZER" in str(header.get("ImageType") or "").upper():
        return "It is a scout (ImageType LOCALIZER)."
    orientation = header.get("ImageOrientationPatient")
    if orientation is None and header.get("SharedFunctionalGroupsSequence"):
        planes = header.SharedFunctionalGroupsSequence[0].get("PlaneOrientationSequence")
        orientation = planes[0].ImageOrientationPatient if planes else None
    if orientation is None or len(orientation) != 6:
        return "It does not say how its slices lie (ImageOrientationPatient)."
    normal = np.cross(np.array(orientation[:3], dtype=float), np.array(orientation[3:], dtype=float))
    if abs(normal[2]) < _AXIAL:
        return f"Its slices are {'coronal' if abs(normal[1]) > abs(normal[0]) else 'sagittal'}; axial ones are wanted."
    return ""
