"""A Python of the wrong version finds the right one, or says what to install."""

import ast
import os
import stat
import subprocess
import sys

import pytest

from scripts.environment import ROOT
from scripts.interpreter import find_python, wrong_python_sentence

posix_only = pytest.mark.skipif(os.name == "nt", reason="puts shell scripts on the path")


def program(folder, *, name, text):
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def test_the_sentence_names_both_versions_and_what_to_do():
    sentence = wrong_python_sentence(found=(3, 13))
    assert "3.13" in sentence
    assert "install 3.11" in sentence
    assert "same command again" in sentence


class TestFindPython:
    @posix_only
    def test_an_empty_shim_is_not_taken_for_a_python(self, tmp_path, monkeypatch):
        program(tmp_path, name="python3.11", text="echo 'command not found' >&2; exit 127")
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_python(wanted=(3, 11)) is None

    @posix_only
    def test_another_version_under_the_name_is_not_taken(self, tmp_path, monkeypatch):
        program(tmp_path, name="python3.9", text=f'exec "{sys.executable}" "$@"')
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_python(wanted=(3, 9)) is None

    @posix_only
    def test_the_right_one_is_found(self, tmp_path, monkeypatch):
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        program(tmp_path, name=f"python{version}", text=f'exec "{sys.executable}" "$@"')
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_python(wanted=sys.version_info[:2]) == sys.executable

    def test_none_is_said_to_be_none(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_python(wanted=(3, 11)) is None


@pytest.mark.parametrize("module", ["command", "interpreter", "environment", "demo_case", "serve", "demo", "test"])
def test_an_older_python_can_read_far_enough_to_be_told_so(module):
    file = ROOT / "scripts" / f"{module}.py"
    ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 8))


WRONG_VERSION = """
import runpy, sys
sys.version_info = (3, 13, 0, "final", 0)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("script", ["demo.py", "test.py"])
def test_a_command_under_the_wrong_python_ends_with_one_sentence(script, tmp_path):
    answer = subprocess.run(
        [sys.executable, "-c", WRONG_VERSION, str(ROOT / "scripts" / script)],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 2
    assert answer.stderr.strip() == wrong_python_sentence(found=(3, 13))
    assert answer.stdout == ""
