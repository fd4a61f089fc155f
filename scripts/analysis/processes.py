"""Cases handed to processes of their own, one at a time to each: one that dies takes only its case along."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from multiprocessing import connection, get_context

from scripts.analysis.sources import Case
from scripts.analysis.table import failed_row
from scripts.analysis.worker import READY, Result, Settings, work
from scripts.command import Stop

_KILLED = -9


def run_each(cases: Iterator[Case], workers: int, settings: Settings) -> Generator[tuple[Case, Result], None, None]:
    """Analyse cases, as many at once as there are workers.

    Args:
        cases: the next one is asked for when a process is free.
        workers: number of processes.
        settings: what holds for all cases.

    Yields:
        Each case with its result, as they are finished.

    Raises:
        Stop: a process cannot even start.
    """
    running: dict[connection.Connection, _Process] = {}

    def begin(process: _Process, case: Case) -> None:
        process.give(case)
        running[process.pipe] = process

    try:
        while len(running) < workers and (case := next(cases, None)):
            begin(_Process(settings), case)
        while running:
            for pipe in connection.wait(list(running)):
                process = running[pipe]  # type: ignore[index]
                result = process.receive()
                if result == READY:
                    continue
                del running[process.pipe]
                done = process.case
                if isinstance(result, str):
                    process.end()
                following = next(cases, None)
                if following:
                    begin(_Process(settings) if isinstance(result, str) else process, following)
                else:
                    process.end()
                yield done, Result(row=failed_row(done, result), final=False) if isinstance(result, str) else result
    finally:
        for process in running.values():
            process.end()


class _Process:
    """One process and the case that it has."""

    case: Case

    def __init__(self, settings: Settings) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, settings), daemon=True)
        self._is_ready = False
        # A process inherits this while it starts, before it can ask for it itself.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._process.start()
        finally:
            signal.signal(signal.SIGINT, before)
            theirs.close()

    def give(self, case: Case) -> None:
        self.case = case
        try:
            self.pipe.send(case)
        except OSError:
            return  # it died; receiving tells why

    def receive(self) -> Result | str:
        """The result, or that it is ready for work, or in one sentence how it died."""
        try:
            received: Result | str = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            if not self._is_ready:
                raise Stop("The processes that analyse cannot start; what stands above says why.") from None
            if code == _KILLED:
                return "Its process was killed, most likely for lack of memory: try fewer --workers."
            return f"Its process died (exit code {code}); if this was for lack of memory, try fewer --workers."
        self._is_ready = True
        return received

    def end(self) -> None:
        self.pipe.close()
        self._process.terminate()
        self._process.join()
