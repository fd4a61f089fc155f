"""The test command hands pytest what it was given, and leaves the slow tests out unless told otherwise."""

import os
import subprocess

import pytest

from scripts.environment import ROOT
from scripts.test import pytest_arguments

SIDE_BY_SIDE = ["-n", "2", "--dist", "loadfile"]


def test_slow_tests_are_left_out_by_default():
    assert pytest_arguments(["tests/stores", "-x"]) == [*SIDE_BY_SIDE, "-m", "not slow", "tests/stores", "-x"]


def test_slow_runs_them_all():
    assert pytest_arguments(["--slow", "-x"]) == [*SIDE_BY_SIDE, "-x"]


def test_what_the_caller_says_comes_last_and_so_wins():
    assert pytest_arguments(["-n", "0", "-m", "system"])[-4:] == ["-n", "0", "-m", "system"]


@pytest.mark.skipif(os.name == "nt", reason="continuous integration runs on Linux")
def test_continuous_integration_runs_exactly_this_command():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == [
        "set -euo pipefail",
        'cd "$(dirname "$0")/.."',
        "python3 scripts/test.py",
    ]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=False).returncode == 0
