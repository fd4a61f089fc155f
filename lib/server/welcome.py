"""The page that a browser shows at the server's address: what runs here, and where to go next."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from monailabel.interfaces.utils.app import app_instance

# MONAI Label's own page loads its scripts from another site and stays blank without the internet.
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{name}</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; color: #222 }}
  code {{ background: #f2f2f2; padding: .1em .3em; border-radius: 3px }}
  td {{ padding: .2em 1em .2em 0; vertical-align: top }}
  .note {{ color: #666 }}
</style>
<h1>{name}</h1>
<p>{description}. <strong>Cases: {total}, with a label: {completed}.</strong></p>
<h2>Look at the cases in the browser</h2>
<p><a href="/dashboard/">The dashboard</a>: the queue, labels, models, what is running.
<a href="/ohif/">All of them in OHIF</a>. A case opens at <code>{address}/open/CASE</code>.</p>
<h2>Annotate in 3D Slicer</h2>
<ol>
  <li>Install the extension <em>MONAI Label</em> and open the module of that name.</li>
  <li>Enter <code>{address}</code> as the server and connect.</li>
  <li>Press <em>Next Sample</em>, then <em>Run</em> under Auto Segmentation; correct; <em>Submit Label</em>.</li>
</ol>
<h2>What the models give</h2>
<table>{models}</table>
<h2>What belongs to which class</h2>
{definitions}
<p>The measurements come with an answer over HTTP:<br>
<code>curl -X POST "{address}/infer/sarcopenia?image=CASE&amp;output=json"</code></p>
<p class="note">For research use only. <a href="/info/">What the server offers, as JSON</a> ·
<a href="/docs">All requests</a> (needs the internet)</p>
</html>
"""


def welcome(request: Request) -> HTMLResponse:
    """Render the page from what ``/info/`` says."""
    info: dict[str, Any] = app_instance().info()
    models = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(model['description'])}</td></tr>"
        for name, model in info["models"].items()
    )
    definitions = "".join(
        f"<details><summary><code>{escape(name)}</code></summary><table>{_rows(model['definitions'])}</table></details>"
        for name, model in info["models"].items()
        if model.get("definitions")
    )
    return HTMLResponse(
        _PAGE.format(
            name=escape(info["name"]),
            description=escape(info["description"]),
            total=info["datastore"]["total"],
            completed=info["datastore"]["completed"],
            address=escape(str(request.base_url).rstrip("/")),
            models=models,
            definitions=definitions,
        )
    )


def _rows(sentences: dict[str, str]) -> str:
    return "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(sentence)}</td></tr>"
        for name, sentence in sentences.items()
    )
