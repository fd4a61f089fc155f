"""The code is formatted, linted and typed, so that the one test command says all there is to say."""

import subprocess
import sys

import pytest

from scripts.environment import ROOT


@pytest.mark.parametrize(
    "tool",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=" ".join,
)
def test_the_tool_has_nothing_to_say(tool):
    answer = subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
