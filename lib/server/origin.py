"""Requests that another web site makes through a visitor's browser are refused."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class SameOriginOnly:
    """ASGI middleware: a browser names the site it acts for in ``Origin``, and only our own may use the server.

    MONAI Label allows every origin with credentials; and what CORS withholds is the answer, not the deed: a form on any
    web page could start a training on ``http://127.0.0.1:8000``. Programs such as 3D Slicer send no ``Origin``.

    Args:
        app: the app behind it.
        allowed: further origins, as ``http://host:port``.
        hosts: the names under which the server may be addressed, or none for any name. A page whose name was made to
            resolve to this machine would otherwise count as our own.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str] = (), hosts: Collection[str] = ()) -> None:
        self.app = app
        self.allowed = {origin.rstrip("/") for origin in allowed}
        self.hosts = set(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 403."""
        sentence = self._objection(Headers(scope=scope)) if scope["type"] == "http" else None
        if sentence:
            await JSONResponse({"detail": sentence}, status_code=403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _objection(self, headers: Headers) -> str | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.hosts and urlsplit(f"//{host}").hostname not in self.hosts:
            return f"This server is not addressed as {host}."
        if origin and origin not in self.allowed and urlsplit(origin).netloc != host:
            return f"A page of {origin} may not use this server."
        return None
