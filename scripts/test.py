"""Run the tests: `python3 scripts/test.py [--slow] [pytest arguments]`. Makes the environment if it is not there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.command import run_command
from scripts.environment import DEVELOPMENT, ROOT, Environment, install_programs, missing_programs
from scripts.interpreter import use_right_python

_SIDE_BY_SIDE = ("-n", "2", "--dist", "loadfile")
"""Two processes, as many as continuous integration has cores; a module's tests share fixtures and stay together."""
_THREADS = {"OMP_NUM_THREADS": "1"}
"""Of each of them, so that they do not take the cores from each other."""


def main(arguments: Sequence[str]) -> int:
    """Prepare the environment and run pytest in it; its exit code is the command's.

    Args:
        arguments: `--slow` runs the tests marked slow as well; everything else goes to pytest as it is. `-n 0` runs
            the tests one after the other in one process, as `--pdb` and `-s` want it.
    """
    use_right_python([__file__, *arguments])
    environment = Environment()
    environment.prepare(DEVELOPMENT)
    if missing := missing_programs():
        print(install_programs(missing), flush=True)
    return subprocess.run(
        [str(environment.python), "-m", "pytest", *pytest_arguments(arguments)],
        cwd=ROOT,
        env={**_THREADS, **os.environ},
        check=False,
    ).returncode


def pytest_arguments(arguments: Sequence[str]) -> list[str]:
    """What pytest is given: slow tests are left out unless `--slow`; `-m` and `-n` of the caller come later and win."""
    if "--slow" in arguments:
        return [*_SIDE_BY_SIDE, *(argument for argument in arguments if argument != "--slow")]
    return [*_SIDE_BY_SIDE, "-m", "not slow", *arguments]


if __name__ == "__main__":
    run_command(main)
