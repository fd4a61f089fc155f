"""Pages of HTML from the templates beside this file; everything that is put into one is escaped."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> str:
    """The page that a template makes of some values."""
    return _PAGES.get_template(template).render(**values)


def data_url(png: bytes) -> str:
    """A picture as an address that holds it, for pages that are one file."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
