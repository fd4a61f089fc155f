"""OHIF from MONAI Label's own package, with our settings and additions, under ``/ohif/``.

MONAI Label's own endpoint looks for files in sub-folders under names that no file has on Linux, and sends 40 MB
uncompressed. Files of ``ohif_files`` come first, so that a file there takes the place of one in the package.
"""

from __future__ import annotations

import gzip
import mimetypes
import re
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance

from lib.refusals import Refusal

MODE = "sarcopenia"
"""The mode in which a case opens."""
OWN = Path(__file__).with_name("ohif_files")
_PACKAGE = Path(str(files("monailabel"))) / "endpoints" / "static" / "ohif"
_CONFIG, _PAGE = "app-config.js", "index.html"
_MADE = (_CONFIG, _PAGE)
_COMPRESSED_FROM = 1 << 12
_COMPRESSIBLE = re.compile(r".*\.(js|css|html|json|svg|wasm|map)")
_NAMED_BY_CONTENT = re.compile(r".*[.-]?[0-9a-f]{20}\.(js|wasm|css)|[0-9a-f]{20}\.wasm")

router = APIRouter(tags=["OHIF"], include_in_schema=False)

_Reader = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]


@router.get("/ohif/{path:path}")
def ohif_file(path: str, request: Request, user: _Reader) -> Response:  # noqa: ARG001 (checks who asks)
    """A file of OHIF; any other address below it is a page that OHIF itself makes."""
    file = _file(path)
    stat = file.stat()
    tag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if _NAMED_BY_CONTENT.fullmatch(file.name):
        headers["Cache-Control"] = "public, max-age=31536000, immutable"
    if file.name in _MADE:
        del headers["ETag"]
    elif request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    if file.suffix == ".wasm":
        kind = "application/wasm"  # not known to every system
    elif file.suffix == ".js":
        kind = "text/javascript"  # Windows may have another idea
    if "gzip" in request.headers.get("accept-encoding", "") and _is_worth_it(file):
        content = _compressed(file, stat.st_mtime_ns)
        return Response(content, media_type=kind, headers={**headers, "Content-Encoding": "gzip"})
    return Response(_content(file), media_type=kind, headers=headers)


@router.get("/open/{case}")
def open_case(case: str, user: _Reader) -> RedirectResponse:  # noqa: ARG001
    """Go to a case in OHIF.

    Raises:
        Refusal: 404 for an unknown case; 422 for one that DICOM cannot hold.
    """
    return RedirectResponse(address_of(case), status_code=307)


def address_of(case: str) -> str:
    """Where OHIF shows a case, by its id or its SeriesInstanceUID.

    Raises:
        Refusal: 404 for an unknown case; 422 for one that cannot be shown.
    """
    store = app_instance().datastore()
    store.archive.wait()
    study, series = store.dicom_identifiers(store.case_id(case))
    return f"/ohif/{MODE}?{urlencode({'StudyInstanceUIDs': study, 'SeriesInstanceUIDs': series})}"


def _file(path: str) -> Path:
    """The file at an address; OHIF's page where there is none.

    Raises:
        Refusal: 404, for an address outside.
    """
    for folder in (OWN, _PACKAGE):
        file = (folder / path).resolve()
        if not file.is_relative_to(folder.resolve()):
            raise Refusal("There is no such file.", status=404)
        if path and file.is_file():
            return file
    if re.search(r"\.(js|css|wasm|map|json|png|svg|ico)$", path):
        raise Refusal(f"OHIF has no file {path[:200]}.", status=404)
    return _PACKAGE / _PAGE


def _content(file: Path) -> bytes:
    if file.name == _PAGE:  # a page would wait for fonts from another site, which a hospital's network may not reach
        return re.sub(rb'<link[^>]*"https://[^>]*>', b"", file.read_bytes())
    if file.name != _CONFIG:
        return file.read_bytes()
    additions = sorted(each for each in OWN.glob("*.js") if each.name != _CONFIG)
    return b"\n".join(each.read_bytes() for each in (OWN / _CONFIG, *additions))


def _is_worth_it(file: Path) -> bool:
    return (
        file.name not in _MADE
        and _COMPRESSIBLE.fullmatch(file.name) is not None
        and file.stat().st_size > _COMPRESSED_FROM
    )


@lru_cache(maxsize=512)
def _compressed(file: Path, mtime_ns: int) -> bytes:  # noqa: ARG001 (keys the cache)
    """A file as gzip; kept, since the largest takes half a second."""
    return gzip.compress(file.read_bytes(), compresslevel=5, mtime=0)
