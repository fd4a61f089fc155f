"""DICOMweb of a PACS at the addresses at which OHIF looks for ours: requests are passed on with the server's password.

It stands before :mod:`lib.server.dicomweb` and takes nothing when the images come from a folder.
"""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Iterator, MutableMapping
from typing import Annotated, Any

import requests
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response, StreamingResponse
from fastapi.routing import APIRoute
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance
from starlette.background import BackgroundTask
from starlette.routing import Match

from lib.refusals import Refusal
from lib.server.dicomweb import ROOT
from lib.stores import CaseStore
from lib.stores.pacs import Pacs

_OPERATIONS = ("qido", "wado", "stow")
_SENT_ON = ("accept", "content-type", "range")
_GIVEN_BACK = (
    "content-type",
    "content-encoding",
    "content-length",
    "content-range",
    "etag",
    "last-modified",
    "warning",
)
_JSON = "application/dicom+json"
_PIECE = 1 << 16

logger = logging.getLogger(__name__)


class _OnlyWithPacs(APIRoute):
    """A route that is not there when the images come from a folder."""

    def matches(self, scope: MutableMapping[str, Any]) -> tuple[Match, MutableMapping[str, Any]]:
        match, child = super().matches(scope)
        if match is not Match.NONE and _store().pacs is None:
            return Match.NONE, {}
        return match, child


router = APIRouter(prefix=ROOT, tags=["DICOMweb"], include_in_schema=False, route_class=_OnlyWithPacs)

_Reader = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
_Annotator = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))]


async def _body(request: Request) -> bytes:
    return await request.body()


@router.get("/{path:path}")
def ask(path: str, request: Request, user: _Reader) -> Response:  # noqa: ARG001 (checks who asks)
    """Pass a search or a retrieval on."""
    return _passed_on(request, path, b"")


@router.post("/{path:path}")
def store(path: str, request: Request, user: _Annotator, body: Annotated[bytes, Depends(_body)]) -> Response:  # noqa: ARG001
    """Pass objects on; a segmentation among them is looked for at once."""
    answer = _passed_on(request, path, body)
    answer.background = BackgroundTask(_look_for_segmentations)
    return answer


def _passed_on(request: Request, path: str, body: bytes) -> Response:
    pacs = _store().pacs
    assert pacs is not None
    operation, _, rest = path.partition("/")
    path = rest if operation in _OPERATIONS else path
    if posixpath.normpath(f"/{path}") != f"/{path}".rstrip("/"):
        raise Refusal("That is no path of DICOMweb.", status=404)
    sent = {name: request.headers[name] for name in _SENT_ON if name in request.headers}
    answer = pacs.forward(request.method, path, query=request.url.query, headers=sent, body=body)
    headers = {name: answer.headers[name] for name in _GIVEN_BACK if name in answer.headers}
    if headers.get("content-type", "").startswith((_JSON, "application/json")):
        return _with_our_addresses(answer, pacs, str(request.base_url).rstrip("/") + ROOT)
    return StreamingResponse(_pieces(answer), status_code=answer.status_code, headers=headers)


def _with_our_addresses(answer: requests.Response, pacs: Pacs, root: str) -> Response:
    """JSON in which the PACS's own addresses are ours: a browser has no password for the others."""
    content = answer.content.replace(pacs.url.encode(), root.encode())
    return Response(content, status_code=answer.status_code, media_type=answer.headers["content-type"])


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    """The body as it comes, still compressed where it is."""
    try:
        yield from answer.raw.stream(_PIECE, decode_content=False)
    finally:
        answer.close()


def _look_for_segmentations() -> None:
    try:
        _store().look_for_segmentations()
    except Refusal as refusal:
        logger.warning("Segmentations that were just stored are looked for later: %s", refusal)


def _store() -> CaseStore:
    found: CaseStore = app_instance().datastore()
    return found
