"""A page for who looks after a project: the queue and why, labels over time, versions, what is running now."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from monailabel.config import RBAC_USER, settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance
from PIL import Image

from lib.anatomy.levels import SUCCESS_MM
from lib.images import read_ct
from lib.infers.reporting import REPORTED
from lib.models import Registry
from lib.models.choice import Choice
from lib.models.telling import answers, why
from lib.refusals import Refusal
from lib.reports.case_sheet import bones_panel
from lib.reports.evaluation_figures import COLOURS
from lib.reports.overlay import SOFT_TISSUE, Panel, axial_panel, size_mm
from lib.reports.pages import render
from lib.stores import CaseStore
from lib.stores.board import QueuedCase
from lib.stores.queue_rules import QueueRules
from lib.strategies.next_case import score_text
from lib.strategies.scoring import METHOD
from lib.tasks import DEFAULT_TASK, TASKS

router = APIRouter(prefix="/dashboard", tags=["Dashboard"])

_Reader = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
_ON_A_PAGE = 50
_VERSIONS = 20
_DAYS, _WEEKS = 45, 365
_MOST_PERSONS = len(COLOURS) - 1
_CHART = (720.0, 160.0)
_THUMBNAIL = 96
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'",
    "Cache-Control": "no-store",
}
# A CT takes a second and some hundred megabytes to read; a page asks for fifty at once.
_one_at_a_time = threading.Semaphore(1)


@dataclass(frozen=True, kw_only=True)
class _Bar:
    """A part of a bar of the chart: place and size in pixels, and what it says."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    text: str


@router.get("/", summary=f"{RBAC_USER}The queue, labels, versions and what is running, as a page")
def dashboard(user: _Reader, task: str = DEFAULT_TASK, page: Annotated[int, Query(ge=1)] = 1) -> Response:  # noqa: ARG001
    """The page of a task.

    Raises:
        Refusal: 404 for an unknown task.
    """
    if task not in TASKS:
        raise Refusal(f"There is no task {task!r}; there are {', '.join(TASKS)}.", status=404)
    app = app_instance()
    store: CaseStore = app.datastore()
    total = store.queue_length(task)
    pages = max(1, -(-total // _ON_A_PAGE))
    page = min(page, pages)
    by_day = store.labels_by_day(task)
    persons = _persons(by_day)
    running = [run for kind in ("train", "score") if (run := store.running(kind)) is not None]  # type: ignore[arg-type]
    html = render(
        "dashboard.html",
        task=TASKS[task],
        tasks=list(TASKS),
        state=store.queue_state(task, QueueRules.from_conf(app.conf)),
        cases=[
            {"id": each.image_id, "why": _why(each), "held": each.held is not None}
            for each in store.queued(task, METHOD, offset=(page - 1) * _ON_A_PAGE, limit=_ON_A_PAGE)
        ],
        reports=task in REPORTED,
        page=page,
        pages=pages,
        total=total,
        chart=_chart(by_day, persons),
        chart_size=_CHART,
        persons=persons,
        versions=_versions(app.registry, task),
        running=[{"run": run, "stats": app.training_state(run.task).get("stats", {})} for run in running],
        training=app.training_state(task),
        thumbnail=_THUMBNAIL,
    )
    return Response(html, media_type="text/html; charset=utf-8", headers=_HEADERS)


@router.get("/thumbnail/{name}", summary=f"{RBAC_USER}A small picture of a case")
def thumbnail(name: str, request: Request, user: _Reader) -> Response:  # noqa: ARG001 (checks who asks)
    """The bones from the front, or the slice where there is but one, as PNG.

    Raises:
        Refusal: 404 for an unknown case, and for one whose image would have to be converted or fetched first.
    """
    store: CaseStore = app_instance().datastore()
    path = store.image_at_hand(store.case_id(name))
    if path is None:
        raise Refusal(f"The image of {name} was not opened yet, so there is no picture of it.", status=404)
    stat = path.stat()
    tag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    with _one_at_a_time:
        return Response(_thumbnail(path, stat.st_mtime_ns), media_type="image/png", headers=headers)


@lru_cache(maxsize=4096)
def _thumbnail(path: Path, mtime_ns: int) -> bytes:  # noqa: ARG001 (keys the cache)
    image = read_ct(path).canonical()
    middle = image.shape[2] // 2
    panel = axial_panel(image, middle, title="") if image.shape[2] == 1 else bones_panel(image, middle)
    file = io.BytesIO()
    _picture(panel).save(file, format="PNG")
    return file.getvalue()


def _picture(panel: Panel) -> Image.Image:
    """A panel in grey, patient's right on the left and head up, within the size of a thumbnail."""
    window = panel.window or SOFT_TISSUE
    low = window.level - window.width / 2
    gray = np.clip((panel.hu.astype(np.float32) - low) / window.width, 0, 1)
    picture = Image.fromarray(np.rint(255 * gray[::-1, ::-1].T).astype(np.uint8))
    scale = _THUMBNAIL / max(size_mm(panel))
    return picture.resize([max(1, round(scale * mm)) for mm in size_mm(panel)])  # type: ignore[arg-type]


def _why(case: QueuedCase) -> str:
    if case.held is not None:
        who = case.held.holder or "somebody who gave no name"
        return f"In the hands of {who} until {case.held.lease_ends:%Y-%m-%d %H:%M} UTC. {case.held.reason}"
    if case.score is None:
        return "Nothing has scored it yet; it comes by chance or by name."
    return f"{score_text(METHOD, case.score, case.model_version)}."


def _persons(by_day: Mapping[date, Counter[str]]) -> list[dict[str, Any]]:
    """Who saved how many labels, most first, with a colour; those beyond the colours share one."""
    totals: Counter[str] = Counter()
    for found in by_day.values():
        totals.update(found)
    return [
        {"author": author, "count": count, "colour": COLOURS[min(place, _MOST_PERSONS)]}
        for place, (author, count) in enumerate(totals.most_common())
    ]


def _chart(by_day: Mapping[date, Counter[str]], persons: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Labels by day, week or four weeks, stacked by person; ``None`` without any."""
    if not by_day:
        return None
    first, last = min(by_day), max(by_day)
    span = (last - first).days + 1
    step, unit = (1, "day") if span <= _DAYS else (7, "week") if span <= _WEEKS else (28, "four weeks")
    bins: list[Counter[str]] = [Counter() for _ in range(-(-span // step))]
    for day, found in by_day.items():
        bins[(day - first).days // step].update(found)
    highest = max(sum(found.values()) for found in bins)
    width = _CHART[0] / max(len(bins), 8)
    bars = []
    for place, found in enumerate(bins):
        top, begins = _CHART[1], first + timedelta(days=place * step)
        for person in persons:
            count = found.get(person["author"], 0)
            if not count:
                continue
            height = _CHART[1] * count / highest
            top -= height
            text = f"{begins:%Y-%m-%d}: {count} by {person['author'] or 'no name'}"
            bars.append(
                _Bar(x=place * width, y=top, width=0.85 * width, height=height, colour=person["colour"], text=text)
            )
    return {"bars": bars, "unit": unit, "first": first, "last": last, "highest": highest}


def _versions(registry: Registry, task: str) -> list[dict[str, Any]]:
    """The newest versions of a task, the newest first."""
    histories: dict[str, tuple[Choice, ...]] = {}
    rows: list[dict[str, Any]] = []
    names = registry.versions(task)
    if names:
        for variant in registry.variants(task):
            try:
                histories[variant] = registry.history(task, variant)
            except Refusal as refusal:
                rows.append({"name": variant or "champion", "why": str(refusal)})
    for name in reversed(names[-_VERSIONS:]):
        try:
            version = registry.version(task, name)
        except Refusal as refusal:
            rows.append({"name": name, "why": str(refusal)})
            continue
        manifest = version.manifest
        history = histories.get(manifest.variant, ())
        pooled = manifest.metrics.get("pooled", {})
        dice, levels = pooled.get("mean_dice", {}), pooled.get("scores", {}).get("l3")
        rows.append(
            {
                "name": name,
                "why": why(version, history),
                "answers": answers(version, history),
                "made": manifest.created[:16].replace("T", " "),
                "labels": len(manifest.labels),
                "patients": len(manifest.patients),
                "phantoms": manifest.phantoms,
                "variant": manifest.variant,
                "dice": _number(dice.get("mean")) if levels is None else f"L3 within {SUCCESS_MM:g} mm: {levels:.1%}",
                "worst": _number(dice.get("minimum")),
            }
        )
    return rows


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
