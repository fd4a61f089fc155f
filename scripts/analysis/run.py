"""An analysis of many cases into one folder, from wherever it was stopped."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lib.anatomy.schemas import SCHEMAS
from lib.disk import make_folder, write_file
from lib.images.dicom import ct_series
from lib.reports.cohort_report import cohort_html, cohort_pdf, cohort_report
from lib.stores.files import signature_of
from scripts.analysis.facts import FactsTable
from scripts.analysis.journal import Entry, Journal
from scripts.analysis.processes import run_each
from scripts.analysis.sources import COHORT, LABELS, REPORTS, Case, name_cases, series_id, source_id
from scripts.analysis.table import ANALYSED, FAILED, OVERLAYS, failed_row, write_table
from scripts.analysis.worker import ERRORS, Result, Settings, failure
from scripts.command import Stop

_TABLE_EVERY_S = 60.0  # that of ten thousand cases takes a second to write


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        sources: as :func:`scripts.analysis.sources.find_sources` finds them.
        settings: for the workers.
        models: what tells the version that answers from all others, by task; another one makes results anew.
        facts: what the user knows of the patients.
        workers: processes at once.
    """

    sources: Mapping[Path, str]
    settings: Settings
    models: Mapping[str, str]
    facts: FactsTable | None = None
    workers: int = 1


@dataclass
class Counts:
    """How it went.

    Attributes:
        before: cases that were done before.
        now: cases that were done now.
        seconds: what that took.
        reasons: of all failed cases, with their number.
        others: rows of the table whose files were not given this time.
        gone: rows left out of the table, since their files are neither given nor there any more.
    """

    before: int = 0
    now: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    others: int = 0
    gone: int = 0

    @property
    def failed(self) -> int:
        """Cases that could not be answered."""
        return sum(self.reasons.values())


class Run:
    """One run over a plan. Nobody else may be writing to the folder.

    Args:
        plan: what is to be done.
        bar: shows how far it is; its total is the number of sources.

    Raises:
        Stop: the folder holds something else, or the table of facts does not fit.
        OSError: the folder cannot be written to.
    """

    def __init__(self, plan: Plan, bar: tqdm) -> None:
        self._plan, self._bar = plan, bar
        self._out = plan.settings.out
        self._journal = Journal(self._out, plan.settings.task)
        given = {str(path) for path in plan.sources}
        self._gone = {entry.path for entry in self._journal.entries if _is_gone(entry.path, given)}
        known = {case_id: path for case_id, path in self._journal.ids.items() if str(path) not in self._gone}
        self._ids = name_cases(plan.sources, known)
        if plan.facts and (unused := plan.facts.check(plan.sources, self._ids)):
            bar.write(unused, file=sys.stderr)
        self._stamps: dict[str, dict[str, Any]] = {}  # by id
        self.counts = Counts()

    def go(self) -> Counts:
        """Analyse what is not done yet.

        Raises:
            Stop: the disk is full.
            OSError: the disk does not take the table or the journal.
        """
        start = last = time.monotonic()
        make_folder(self._out / OVERLAYS)
        if self._plan.settings.labels:
            make_folder(self._out / LABELS)
        if self._plan.settings.reports:
            make_folder(self._out / REPORTS)
        self._remove_left_overs()
        self._forget_those_replaced()
        try:
            with closing(run_each(self._to_do(), self._plan.workers, self._plan.settings)) as finished:
                for case, result in finished:
                    self._keep(case, result)
                    if time.monotonic() - last > _TABLE_EVERY_S:
                        with suppress(PermissionError):  # somebody looks at it: Excel lets nobody else write meanwhile
                            self._write_table()
                        last = time.monotonic()
        finally:
            self.counts.seconds = time.monotonic() - start
            self._journal.compact()
            self._write_table()
        if self._plan.settings.reports:
            self._write_cohort()
        mine = {str(path) for path in self._plan.sources}
        for entry in self._journal.entries:
            if entry.path in self._gone:
                self.counts.gone += 1
            elif entry.path not in mine:
                self.counts.others += 1
            elif entry.row["status"] == FAILED:
                self.counts.reasons[str(entry.row["reason"]).replace(Path(entry.path).name, "the file")] += 1
        return self.counts

    def _to_do(self) -> Iterator[Case]:
        """The cases that are not done, folders of DICOM opened only when their turn comes."""
        for path, case_id in self._ids.items():
            try:
                signature = signature_of(path)
            except OSError as error:
                case = Case(id=case_id, path=path)
                self._keep(case, _unreadable(case, error))
                continue
            earlier = self._journal.of_source(path)
            if earlier and len(earlier) == earlier[0].of and all(self._is_done(entry, signature) for entry in earlier):
                self._bar.total += len(earlier) - 1
                self._bar.update(len(earlier))
                self.counts.before += len(earlier)
                continue
            yield from self._cases(path, case_id, signature)

    def _cases(self, path: Path, case_id: str, signature: str) -> Iterator[Case]:
        whole = Case(id=case_id, path=path, wishes=self._wishes(case_id, path))
        cases = [whole]
        if path.is_dir():
            try:
                series = ct_series(path)
            except Exception as error:  # noqa: BLE001 - one odd folder must not stop the analysis of a thousand
                result = failure(whole, error)
                if result.final:
                    self._stamps[whole.id] = self._stamp(whole, signature)
                    self._replace(path, {whole.series})
                self._keep(whole, result)
                return
            cases = [
                Case(
                    id=(series_name := series_id(case_id, uid, len(series.files))),
                    path=path,
                    series=uid,
                    files=tuple(files),
                    of=len(series.files),
                    warnings=series.warnings,
                    wishes=self._wishes(series_name, path),
                )
                for uid, files in series.files.items()
            ]
        self._replace(path, {case.series for case in cases})
        self._bar.total += len(cases) - 1
        for case in cases:
            self._stamps[case.id] = self._stamp(case, signature)
            earlier = self._journal.of(case)
            if earlier and self._is_done(earlier, signature):
                self.counts.before += 1
                self._bar.update()
                continue
            yield case

    def _wishes(self, case_id: str, path: Path) -> dict[str, Any]:
        return self._plan.facts.of(case_id, path, self._plan.sources[path]) if self._plan.facts else {}

    def _stamp(self, case: Case, signature: str) -> dict[str, Any]:
        return {
            "file": signature,
            "models": dict(self._plan.models),
            "wishes": dict(case.wishes),
            "id": case.id,
            **self._judging,
        }

    @property
    def _judging(self) -> dict[str, Any]:
        """Other cut-offs make other pages."""
        return {"cutoffs": list(self._plan.settings.cutoffs)} if self._plan.settings.reports else {}

    def _compared(self, stamp: Mapping[str, Any]) -> dict[str, Any]:
        """A stamp without what only matters to pages, where none are wanted."""
        return {name: value for name, value in stamp.items() if name != "cutoffs" or self._plan.settings.reports}

    def _is_done(self, entry: Entry, signature: str) -> bool:
        case = Case(
            id=entry.row["case"],
            path=Path(entry.path),
            series=entry.series,
            wishes=self._wishes(entry.row["case"], Path(entry.path)),
        )
        return (
            entry.final
            and self._compared(entry.stamp) == self._stamp(case, signature)
            and (entry.row["status"] == FAILED or all(path.exists() for path in self._outputs(case.id)))
        )

    def _outputs(self, case_id: str) -> list[Path]:
        label = [self._out / LABELS / f"{case_id}.nii.gz"] if self._plan.settings.labels else []
        pages = self._pages(case_id) if self._plan.settings.reports else []
        return [self._out / OVERLAYS / f"{case_id}.png", *label, *pages]

    def _pages(self, case_id: str) -> list[Path]:
        return [self._out / REPORTS / f"{case_id}{suffix}" for suffix in (".html", ".pdf")]

    def _keep(self, case: Case, result: Result) -> None:
        if result.disk:
            raise Stop(
                f"The disk refused the results of {case.id} ({result.disk}): make room, or choose another --out, and "
                "start the same command again; what is done is kept."
            )
        if result.trace:
            with (self._out / ERRORS).open("a", encoding="utf-8", errors="replace") as log:
                log.write(f"{case.path}\n{result.trace}\n")
        if result.row["status"] != ANALYSED:
            self._remove_outputs(case.id)
        self._journal.add(
            Entry(
                path=str(case.path),
                series=case.series,
                of=case.of,
                stamp=self._stamps.pop(case.id, {}),
                final=result.final,
                row=result.row,
            )
        )
        self.counts.now += 1
        self._bar.update()

    def _replace(self, path: Path, series: set[str]) -> None:
        """Leave out what a file or folder held before and does not hold any more."""
        for entry in self._journal.of_source(path):
            if entry.series not in series:
                self._journal.forget(entry)
                self._remove_outputs(entry.row["case"])

    def _forget_those_replaced(self) -> None:
        """Leave out what is gone and had a name that another file has now: the same one, most often, moved."""
        names = {case_id.casefold() for case_id in self._ids.values()}
        for entry in self._journal.entries:
            if entry.path in self._gone and source_id(entry.row["case"]).casefold() in names:
                self._journal.forget(entry)
                self._remove_outputs(entry.row["case"])

    def _remove_outputs(self, case_id: str) -> None:
        picture, label = self._out / OVERLAYS / f"{case_id}.png", self._out / LABELS / f"{case_id}.nii.gz"
        for path in (picture, label, *self._pages(case_id)):
            path.unlink(missing_ok=True)

    def _remove_left_overs(self) -> None:
        """What a killed process was writing."""
        written = [path for name in (OVERLAYS, REPORTS) for path in (self._out / name).glob("*.new")]
        for path in (*written, *(self._out / LABELS).glob(".*.part.nii.gz")):
            path.unlink(missing_ok=True)

    def _write_table(self) -> None:
        write_table(self._out, SCHEMAS[self._plan.settings.task], self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        return [entry.row for entry in self._journal.entries if entry.path not in self._gone]

    def _write_cohort(self) -> None:
        report = cohort_report(self._rows())
        write_file(self._out / f"{COHORT}.html", cohort_html(report).encode())
        write_file(self._out / f"{COHORT}.pdf", cohort_pdf(report))


def _is_gone(path: str, given: set[str]) -> bool:
    try:
        return path not in given and not Path(path).exists()
    except OSError:  # it is there, or may be
        return False


def _unreadable(case: Case, error: OSError) -> Result:
    reason = f"{case.path.name} cannot be read ({error.strerror or error})."
    return Result(row=failed_row(case, reason), final=False)
