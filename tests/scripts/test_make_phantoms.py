"""The command that makes cohorts says in one sentence what is wrong, and stops at once when it is told to."""

import signal
import subprocess
import sys
import time

import pytest

from lib.phantoms.cohort import read_table
from scripts import make_phantoms
from scripts.command import Stop
from scripts.environment import ROOT

COMMAND = [sys.executable, str(ROOT / "scripts" / "make_phantoms.py")]
SMALL = ["--matrix", "48", "--slice-mm", "15", "--conditions", "none"]


class TestConditions:
    @pytest.mark.parametrize(
        ("text", "found"),
        [("none", {}), ("ascites=0.8,oedema", {"ascites": 0.8, "oedema": 1.0}), (" metal = .5", {"metal": 0.5})],
    )
    def test_names_with_and_without_a_strength(self, text, found):
        assert make_phantoms.conditions(text) == found

    def test_a_strength_that_is_no_number(self, capsys):
        with pytest.raises(SystemExit):
            make_phantoms.parse(["--out", "x", "--conditions", "ascites=much"])
        assert "'much' is no strength" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--conditions", "flu"], "no condition 'flu'"),
        (["--count", "0"], "1 to 100,000 cases"),
        (["--seed", "-3"], "seed"),
    ],
)
def test_wrong_arguments_are_refused_with_the_reason(tmp_path, arguments, reason):
    with pytest.raises(Stop, match=reason):
        make_phantoms.main(["--out", str(tmp_path / "new"), *arguments])
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(Stop, match="file"):
        make_phantoms.main(["--out", str(tmp_path / "file")])


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send to a process there")
def test_ctrl_c_stops_all_workers_with_one_line(tmp_path):
    out = tmp_path / "out"
    command = [*COMMAND, "--out", str(out), "--count", "500", "--workers", "2", "--quiet", *SMALL]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore it, and so would what the tests start there.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no other threads here
    ) as process:
        try:
            end = time.monotonic() + 120
            while not read_table(out) and time.monotonic() < end:
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            said, complained = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert said == ""
    assert complained == f"Stopped. The same command goes on with {out} where it stopped.\n"
    assert 1 <= len(read_table(out)) < 500
