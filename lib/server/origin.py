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
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str] = ()) -> None:
        self.app = app
        self.allowed = {origin.rstrip("/") for origin in allowed}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 403."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin and origin not in self.allowed and urlsplit(origin).netloc != headers.get("host"):
                sentence = f"A page of {origin} may not use this server."
                await JSONResponse({"detail": sentence}, status_code=403)(scope, receive, send)
                return
        await self.app(scope, receive, send)
