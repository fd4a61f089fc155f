"""Whatever ends an analysis or a part of it, the rest goes on, and nothing is half written or done twice."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lib.phantoms.cohort import Cohort, CohortPlan
from scripts.analyse import main
from scripts.analysis.sources import JOURNAL
from scripts.analysis.table import TABLE
from scripts.environment import ROOT

COMMAND = [sys.executable, str(ROOT / "scripts" / "analyse.py")]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to send to a process there")


@pytest.fixture(scope="module")
def slice_file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    Cohort(folder, CohortPlan(region="l3", count=1, seed=7, matrix=128, conditions={}, labels=False)).write()
    return next(folder.glob("*.nii.gz"))


@pytest.fixture
def none(tmp_path) -> Path:
    """A folder without models: what a developer has trained must not answer here."""
    return tmp_path / "no_models"


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    with (out / TABLE).open(encoding="utf-8-sig", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def noted(out: Path) -> int:
    """How many results the journal holds by now."""
    return max(0, (out / JOURNAL).read_bytes().count(b"\n") - 1) if (out / JOURNAL).exists() else 0


def wait_until(is_so: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_killed_worker_fails_its_case_only_and_a_killed_run_goes_on(slice_file, tmp_path, none, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(12):
        shutil.copy(slice_file, folder / f"{number:02}.nii.gz")
    arguments = [str(folder), "--out", str(out), "--workers", "1", "--quiet", "--models", str(none)]
    with subprocess.Popen([*COMMAND, *arguments]) as run:
        wait_until(lambda: noted(out) >= 1)
        (worker,) = (
            child for child in psutil.Process(run.pid).children() if "resource_tracker" not in " ".join(child.cmdline())
        )
        worker.kill()
        wait_until(lambda: b"killed" in (out / JOURNAL).read_bytes())
        at_that = noted(out)
        wait_until(lambda: noted(out) > at_that)
        children = psutil.Process(run.pid).children()
        run.kill()
    assert not psutil.wait_procs(children, timeout=60)[1]
    kept = [json.loads(line) for line in (out / JOURNAL).read_bytes().split(b"\n")[1:] if line.endswith(b"}")]
    assert len(kept) < 12
    (killed,) = (entry["row"] for entry in kept if entry["row"]["status"] == "failed")
    assert "killed" in killed["reason"]
    with (out / JOURNAL).open("ab") as journal:
        journal.write(b'{"path": "cut sho')
    (out / "overlays" / "00.png.new").write_bytes(b"half a picture")
    first = (out / "overlays" / f"{kept[0]['row']['case']}.png").stat().st_mtime_ns

    main(arguments)
    rows = rows_of(out)
    assert sorted(rows) == [f"{number:02}" for number in range(12)]
    assert {row["status"] for row in rows.values()} == {"analysed"}
    assert f"{len(kept) - 1} of them were done before." in capsys.readouterr().out
    assert (out / "overlays" / f"{kept[0]['row']['case']}.png").stat().st_mtime_ns == first
    assert {path.name for path in (out / "overlays").iterdir()} == {f"{case}.png" for case in rows}


def test_a_disk_that_takes_no_more_stops_it_with_one_sentence_and_no_half_picture(slice_file, tmp_path, none):
    import resource

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    out = tmp_path / "out"
    done = subprocess.run(
        [*COMMAND, str(slice_file), "--out", str(out), "--quiet", "--models", str(none)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=small_files,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "MPLCONFIGDIR": str(tmp_path)},
    )
    assert done.returncode == 2
    assert "The disk refused the results of phantom" in done.stderr.splitlines()[-1]
    assert not list((out / "overlays").iterdir())
