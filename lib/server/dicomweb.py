"""DICOMweb on the studies folder, at the addresses at which the OHIF inside MONAI Label looks for it.

``/proxy/dicom`` is the root; ``qido``, ``wado`` and ``stow`` behind it mean the same, because that OHIF names one of
them in front of every request. Nothing here waits in the event loop: endpoints that read files run in worker threads.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, Response
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance
from pydicom.uid import ExplicitVRLittleEndian

from lib.archive import Archive
from lib.archive.headers import BULK
from lib.dicomweb import media, rendering, storing
from lib.dicomweb.multipart import Part, compose, parse
from lib.dicomweb.search import Search, instance_attributes, studies
from lib.refusals import Refusal

ROOT = "/proxy/dicom"
_DICOM, _JSON = "application/dicom", "application/dicom+json"
_PICTURES = ("image/jpeg", "image/png")
_UNCHANGING = {"Cache-Control": "private, max-age=3600"}  # a frame of a SOPInstanceUID is the same for ever

logger = logging.getLogger(__name__)
router = APIRouter(prefix=ROOT, tags=["DICOMweb"], include_in_schema=False)

_Reader = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
_Annotator = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))]


def _get(*paths: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Offer an endpoint at some addresses below each of the roots."""

    def offer(endpoint: Callable[..., Any]) -> Callable[..., Any]:
        for operation in ("", "/qido", "/wado", "/stow"):
            for path in paths:
                router.add_api_route(operation + path, endpoint, methods=["GET"])
        return endpoint

    return offer


# Searching


@_get("/studies")
def search_studies(request: Request, user: _Reader) -> Response:  # noqa: ARG001 (checks who asks)
    """The studies that match."""
    search = Search.parse(request.query_params.multi_items())
    found = search.page(studies(_archive().series()))
    root = _root(request)
    return _told([{**each, "00081190": _url(f"{root}/studies/{_first(each, '0020000D')}")} for each in found])


@_get("/series", "/studies/{study}/series")
def search_series(request: Request, user: _Reader, study: str | None = None) -> Response:  # noqa: ARG001
    """The series that match, of one study or of all."""
    search = Search.parse(request.query_params.multi_items())
    found = search.page(_archive().series(study))
    root = _root(request)
    for each in found:
        each["00081190"] = _url(f"{root}/studies/{_first(each, '0020000D')}/series/{_first(each, '0020000E')}")
    return _told(found)


@_get("/instances", "/studies/{study}/instances", "/studies/{study}/series/{series}/instances")
def search_instances(
    request: Request,
    user: _Reader,  # noqa: ARG001
    study: str | None = None,
    series: str | None = None,
) -> Response:
    """The instances that match, of one series, of one study or of all."""
    search = Search.parse(request.query_params.multi_items())
    archive = _archive()
    own = {_first(each, "0020000D"): None for each in archive.series(study)}
    headers = (json.loads(header) for each in own for header in archive.headers(each, series))
    found = search.page(headers)
    root = _root(request)
    return _told(
        [
            {
                **instance_attributes(each, search),
                "00081190": _url(f"{_series_url(root, each)}/instances/{_first(each, '00080018')}"),
            }
            for each in found
        ]
    )


@router.get("/refused")
def refused(user: _Reader) -> dict[str, Any]:  # noqa: ARG001
    """How many files were looked at, and why some are not served (this is not part of DICOMweb)."""
    archive = _archive()
    return {**archive.counts(), "reasons": dict(archive.refused())}


# Headers and files


@_get(
    "/studies/{study}/metadata",
    "/studies/{study}/series/{series}/metadata",
    "/studies/{study}/series/{series}/instances/{sop}/metadata",
)
def metadata(
    request: Request,
    user: _Reader,  # noqa: ARG001
    study: str,
    series: str | None = None,
    sop: str | None = None,
) -> Response:
    """The headers of all instances of a study or a series, or of one."""
    archive = _archive()
    headers = archive.headers(study, series, sop)
    if not headers:
        raise _not_found(study, series, sop)
    if series is not None and sop is None:
        # Whoever asks for the headers asks for the frames next; copying an image file takes a while.
        threading.Thread(target=_make_ready, args=(archive, series), daemon=True).start()
    root = _root(request)
    return Response(b"[" + b",".join(_with_urls(header, root) for header in headers) + b"]", media_type=_JSON)


@_get(
    "/studies/{study}",
    "/studies/{study}/series/{series}",
    "/studies/{study}/series/{series}/instances/{sop}",
)
def retrieve(
    request: Request,
    user: _Reader,  # noqa: ARG001
    study: str,
    series: str | None = None,
    sop: str | None = None,
) -> Response:
    """The DICOM files of a study, a series or an instance, as they are stored."""
    archive = _archive()
    uids = [_first(json.loads(header), "00080018") for header in archive.headers(study, series, sop)]
    if not uids:
        raise _not_found(study, series, sop)
    forms = media.accepted(request.headers.get("accept", ""))
    if sop is not None and forms[0].media_type == _DICOM:
        content = archive.file(sop)
        return (
            FileResponse(content, media_type=_DICOM)
            if isinstance(content, Path)
            else Response(content, media_type=_DICOM)
        )
    contents = (archive.file(uid) for uid in uids)
    body, kind = compose(
        Part(media_type=_DICOM, content=content.read_bytes() if isinstance(content, Path) else content)
        for content in contents
    )
    return Response(body, media_type=kind)


@_get("/studies/{study}/series/{series}/instances/{sop}/bulkdata/{tag}")
def bulk_data(*, request: Request, user: _Reader, study: str, series: str, sop: str, tag: str) -> Response:  # noqa: ARG001
    """The value of an element that is too large for the headers."""
    try:
        number = int(tag, 16)
    except ValueError as error:
        raise Refusal(f"{tag[:80]!r} is no tag of a DICOM element.", status=400) from error
    content = _archive().bulk(sop, number)
    if media.accepted(request.headers.get("accept", ""))[0].media_type.startswith("multipart/"):
        body, kind = compose([Part(media_type=media.OCTETS, content=content)])
        return Response(body, media_type=kind, headers=_UNCHANGING)
    return Response(content, media_type=media.OCTETS, headers=_UNCHANGING)


# Frames


@_get("/studies/{study}/series/{series}/instances/{sop}/frames/{numbers}")
def frames(*, request: Request, user: _Reader, study: str, series: str, sop: str, numbers: str) -> Response:  # noqa: ARG001
    """One frame or several, as they are stored or without compression, whichever is accepted."""
    archive = _archive()
    wanted = _frame_numbers(numbers)
    accept = request.query_params.get("accept") or request.headers.get("accept", "")
    parts, form = [], None
    for number in wanted:
        content, syntax = archive.frame(sop, number)
        form = media.frame_form(media.accepted(accept), syntax)
        if form.plain and syntax != ExplicitVRLittleEndian:
            content, syntax = archive.frame(sop, number, plain=True)
        kind = media.media_type_of(syntax)
        parts.append(Part(media_type=f"{kind};transfer-syntax={syntax}", content=content))
    if form is not None and form.single and len(parts) == 1:
        return Response(parts[0].content, media_type=parts[0].media_type, headers=_UNCHANGING)
    body, kind = compose(parts)
    return Response(body, media_type=kind, headers=_UNCHANGING)


@_get(
    "/studies/{study}/series/{series}/instances/{sop}/rendered",
    "/studies/{study}/series/{series}/instances/{sop}/thumbnail",
    "/studies/{study}/series/{series}/instances/{sop}/frames/{numbers}/rendered",
    "/studies/{study}/series/{series}/instances/{sop}/frames/{numbers}/thumbnail",
    "/studies/{study}/series/{series}/rendered",
    "/studies/{study}/series/{series}/thumbnail",
    "/studies/{study}/thumbnail",
)
def rendered(
    *,
    request: Request,
    user: _Reader,  # noqa: ARG001
    study: str,
    series: str | None = None,
    sop: str | None = None,
    numbers: str = "1",
) -> Response:
    """A frame as JPEG or PNG; of a study or a series the one in the middle."""
    archive = _archive()
    if sop is None:
        headers = archive.headers(study, series)
        if not headers:
            raise _not_found(study, series, sop)
        sop = _first(json.loads(headers[len(headers) // 2]), "00080018")
    values, header = archive.values(sop, _frame_numbers(numbers)[0])
    query = request.query_params
    kinds = [form.media_type for form in media.accepted(query.get("accept") or request.headers.get("accept", ""))]
    kind = next((kind for kind in kinds if kind in _PICTURES), _PICTURES[0])
    size = query.get("viewport") or ("128,128" if request.url.path.endswith("thumbnail") else "")
    content = rendering.picture(values, header, window=query.get("window", ""), size=size, media_type=kind)
    return Response(content, media_type=kind, headers=_UNCHANGING)


# Storing


@router.post("/studies")
@router.post("/studies/{study}")
@router.post("/stow/studies")
@router.post("/stow/studies/{study}")
@router.post("/wado/studies")
@router.post("/wado/studies/{study}")
async def store(request: Request, user: _Annotator, study: str | None = None) -> Response:  # noqa: ARG001
    """Keep DICOM objects: images become cases, anything else is handed to whoever takes labels in."""
    body = await request.body()
    kind = request.headers.get("content-type", "")
    return await run_in_threadpool(_store_all, body, kind, study, _root(request))


def _store_all(body: bytes, kind: str, study: str | None, root: str) -> Response:
    contents = (
        [body] if kind.startswith(_DICOM) and not kind.startswith(_JSON) else [p.content for p in parse(body, kind)]
    )
    archive = _archive()
    outcomes = [_store_one(archive, content, study, root) for content in contents]
    named = next((outcome.url.partition("/series/")[0] for outcome in outcomes if outcome.url), "")
    status, told = storing.answer(outcomes, named)
    sentences = " ".join(outcome.sentence for outcome in outcomes if outcome.sentence)
    headers = {"Warning": f'299 - "{sentences[:1000]}"'.encode("ascii", "replace").decode()} if sentences else {}
    return Response(json.dumps(told), status_code=status, media_type=_JSON, headers=headers)


def _store_one(archive: Archive, content: bytes, study: str | None, root: str) -> storing.Outcome:
    try:
        new = archive.add(content, study=study)
    except Refusal as refusal:
        return storing.Outcome(sentence=str(refusal), status=refusal.status_code)
    sentence = ""
    if not new.is_image and archive.received is not None:
        try:
            archive.received(archive.path_of(new))
        except Refusal as refusal:  # it is kept, and who stored it is told why it counts for nothing
            sentence = str(refusal)
    url = f"{root}/studies/{new.study}/series/{new.series}/instances/{new.sop}"
    return storing.Outcome(sop_class=new.sop_class, sop=new.sop, url=url, sentence=sentence)


# What these have in common


def _archive() -> Archive:
    archive: Archive = app_instance().datastore().archive
    archive.wait()
    return archive


def _make_ready(archive: Archive, series: str) -> None:
    try:
        archive.make_ready(series)
    except Refusal as refusal:
        logger.warning("The frames of %s cannot be had: %s", series, refusal)


def _root(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}{ROOT}"


def _told(objects: list[dict[str, Any]]) -> Response:
    """An answer to a search, the attributes of each object in order."""
    return Response(json.dumps([dict(sorted(each.items())) for each in objects]), media_type=_JSON)


def _url(text: str) -> dict[str, Any]:
    return {"vr": "UR", "Value": [text]}


def _first(attributes: dict[str, Any], tag: str) -> str:
    return str((attributes.get(tag, {}).get("Value") or [""])[0])


def _series_url(root: str, header: dict[str, Any]) -> str:
    return f"{root}/studies/{_first(header, '0020000D')}/series/{_first(header, '0020000E')}"


def _with_urls(header: bytes, root: str) -> bytes:
    """A header whose bulk data are at this server's address."""
    mark = f'"BulkDataURI":"{BULK}'.encode()
    if mark not in header:
        return header
    told = json.loads(header)
    here = f"{_series_url(root, told)}/instances/{_first(told, '00080018')}/bulkdata/"
    return header.replace(mark, f'"BulkDataURI":"{here}'.encode())


def _frame_numbers(text: str) -> list[int]:
    """Frames from 0, of a list that counts from 1."""
    numbers = text.split(",")
    if not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise Refusal(f"Frames are numbers from 1, such as 1,2,3, not {text[:80]!r}.", status=400)
    return [int(number) - 1 for number in numbers]


def _not_found(study: str, series: str | None, sop: str | None) -> Refusal:
    what, uid = next((kind, uid) for kind, uid in (("instance", sop), ("series", series), ("study", study)) if uid)
    return Refusal(f"There is no {what} {uid[:64]}.", status=404)
