"""Analyses cases in a process of its own. What takes long to import is imported when the process works, not before."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.analysis.sources import LABELS, REPORTS, Case

if TYPE_CHECKING:
    from lib.images import CTImage
    from lib.infers.segmentation import Analysis

READY = "ready"
ERRORS = "errors.log"
_PASSING = {404, 503, 507}
"""Statuses of refusals that are no fault of the image: the file is away, or the machine lacks something."""


@dataclass(frozen=True)
class Settings:
    """What holds for all cases.

    Attributes:
        task: what is answered.
        models: folder of all models.
        out: folder of the results.
        labels: whether labels are written too.
        versions: the version that answers, by task; none for a task that is not named.
        reports: whether a page is made of each case.
        cutoffs: those that the pages judge by.
    """

    task: str
    models: Path
    out: Path
    labels: bool
    versions: Mapping[str, str] = field(default_factory=dict)
    reports: bool = False
    cutoffs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a case.

    Attributes:
        row: of the table.
        final: whether another try would end in the same way.
        trace: where in the program something went wrong that nobody had thought of.
        disk: what the disk of the results said when they could not be written; there is no row then.
    """

    row: dict[str, Any]
    final: bool = True
    trace: str = ""
    disk: str = ""


def failure(case: Case, error: Exception) -> Result:
    """What came of a case that could not be answered, with the reason."""
    from lib.refusals import Refusal  # noqa: PLC0415
    from scripts.analysis.table import failed_row  # noqa: PLC0415

    if isinstance(error, Refusal):
        return Result(row=failed_row(case, str(error)), final=error.status_code not in _PASSING)
    if isinstance(error, MemoryError):
        return Result(row=failed_row(case, "There was not enough memory for it: try fewer --workers."), final=False)
    row = failed_row(case, f"The program failed ({type(error).__name__}: {error}); {ERRORS} says where.")
    return Result(row=row, final=False, trace="".join(traceback.format_exception(error)))


def work(pipe: connection.Connection, settings: Settings) -> None:
    """Answer every case that comes through the pipe by its result, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who then ends this process
    os.environ["OMP_NUM_THREADS"] = "1"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    analyst = _Analyst(settings)
    pipe.send(READY)
    while True:
        try:
            case = pipe.recv()
        except EOFError:
            return
        pipe.send(analyst.result(case))


def _end_with_parent() -> None:
    """Without this, a parent that was killed would leave processes that still write when it is started again."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


class _DiskError(Exception):
    """Results could not be written."""


class _Analyst:
    def __init__(self, settings: Settings) -> None:
        from threadpoolctl import threadpool_limits  # noqa: PLC0415

        from lib.infers.champions import Champions  # noqa: PLC0415
        from lib.infers.segmentation import SegmentationTask  # noqa: PLC0415
        from lib.tasks import TASKS  # noqa: PLC0415
        from scripts.analysis.pinned import PinnedRegistry  # noqa: PLC0415

        threadpool_limits(1)
        registry = PinnedRegistry(settings.models, settings.versions)
        self._task = SegmentationTask(TASKS[settings.task], Champions(registry, registry.compiled))
        self._settings = settings

    def result(self, case: Case) -> Result:
        start = time.perf_counter()
        try:
            result = Result(row=self._row(case))
        except _DiskError as fault:
            return Result(row={}, disk=str(fault))
        except Exception as error:  # noqa: BLE001 - one odd file must not stop the analysis of a thousand
            result = failure(case, error)
        return replace(result, row=result.row | {"seconds": round(time.perf_counter() - start, 1)})

    def _row(self, case: Case) -> dict[str, Any]:
        from lib.images.files import read_ct, read_ct_series  # noqa: PLC0415
        from lib.infers.options import InferOptions  # noqa: PLC0415
        from scripts.analysis.table import analysed_row  # noqa: PLC0415

        options = InferOptions.parse({**case.wishes, "overlay": "yes"})
        image = read_ct_series(list(case.files), case.warnings) if case.files else read_ct(case.path)
        analysis = self._task.analyse(image, options)
        try:
            self._write(case, image, analysis)
        except OSError as error:
            raise _DiskError(error.strerror or str(error)) from error
        return analysed_row(case, image, analysis)

    def _write(self, case: Case, image: CTImage, analysis: Analysis) -> None:
        from lib.disk import patiently, write_file  # noqa: PLC0415
        from lib.images.files import write_label  # noqa: PLC0415
        from scripts.analysis.table import OVERLAYS  # noqa: PLC0415

        assert analysis.overlay is not None
        write_file(self._settings.out / OVERLAYS / f"{case.id}.png", analysis.overlay)
        if self._settings.reports:
            self._write_report(case, image, analysis)
        if self._settings.labels:
            target = self._settings.out / LABELS / f"{case.id}.nii.gz"
            part = target.with_name(f".{case.id}.part.nii.gz")
            try:
                write_label(part, analysis.label, image)
                patiently(lambda: part.replace(target))
            finally:
                part.unlink(missing_ok=True)

    def _write_report(self, case: Case, image: CTImage, analysis: Analysis) -> None:
        from lib.disk import write_file  # noqa: PLC0415
        from lib.infers.reporting import report_of_answer  # noqa: PLC0415
        from lib.reports.case_report_pages import report_html, report_pdf  # noqa: PLC0415

        report = report_of_answer(case.id, image, analysis, cutoffs=self._settings.cutoffs)
        folder = self._settings.out / REPORTS
        write_file(folder / f"{case.id}.html", report_html(report).encode())
        write_file(folder / f"{case.id}.pdf", report_pdf(report))
