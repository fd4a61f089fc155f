"""The environment is installed once, again when the requirements change, and never taken for whole when it is not."""

import contextlib
import importlib.metadata
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from scripts.command import Stop
from scripts.environment import (
    DEVELOPMENT,
    RUNTIME,
    Environment,
    fingerprint,
    install_programs,
    missing_programs,
    one_at_a_time,
    pinned,
    remove_half_installed,
)
from scripts.interpreter import WANTED


def wheel(folder: Path, *, name: str, version: str) -> None:
    """A package of one module that knows its version, as a wheel in a folder that pip can look into."""
    info = f"{name}-{version}.dist-info"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


def installed_version(environment: Environment, name: str) -> str:
    question = f"import {name}; print({name}.VERSION)"
    answer = subprocess.run([environment.python, "-c", question], capture_output=True, text=True, check=False)
    return answer.stdout.strip()


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A folder of two small packages, the only place pip may look at."""
    folder = tmp_path / "wheels"
    for version in ("1.0", "2.0"):
        wheel(folder, name="plumb", version=version)
    wheel(folder, name="level", version="1.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


class TestARealEnvironment:
    def test_is_made_kept_changed_and_mended(self, tmp_path, wheels, capfd):
        requirements = tmp_path / "requirements.txt"
        requirements.write_text("plumb==1.0\n")
        environment = Environment(folder=tmp_path / "env", build=tmp_path / "build")

        assert not environment.is_ready(requirements)
        environment.prepare(requirements)
        assert environment.is_ready(requirements)
        assert installed_version(environment, "plumb") == "1.0"
        assert "1 of 1: plumb" in capfd.readouterr().out

        # A second start installs nothing: it does not even need the packages.
        (wheels / "plumb-1.0-py3-none-any.whl").unlink()
        environment.prepare(requirements)
        assert capfd.readouterr().out == ""

        requirements.write_text("plumb==2.0\n")
        assert not environment.is_ready(requirements)
        environment.prepare(requirements)
        assert installed_version(environment, "plumb") == "2.0"

        # Development requirements include the others, so both are known to be there afterwards.
        development = tmp_path / "requirements-dev.txt"
        development.write_text("-r requirements.txt\nlevel==1.0\n")
        environment.prepare(development)
        assert environment.is_ready(requirements)
        assert environment.is_ready(development)

        # An install that fails is not taken for one that succeeded, and says what is missing and what to do.
        requirements.write_text("plumb==3.0\n")
        with pytest.raises(Stop, match=r"install failed .*plumb==3\.0.*same command again"):
            environment.prepare(requirements)
        assert not environment.is_ready(requirements)
        assert "plumb==3.0" in environment.log.read_text()

        # Killed while unpacking: the files are gone, the record is half there; the next start mends it.
        requirements.write_text("plumb==2.0\n")
        module = next(environment.folder.rglob("plumb.py"))
        module.unlink()
        next(environment.folder.rglob("plumb-2.0.dist-info/RECORD")).unlink()
        environment.prepare(requirements)
        assert installed_version(environment, "plumb") == "2.0"

    def test_whose_making_was_cut_off_is_made_again(self, tmp_path, wheels):
        requirements = tmp_path / "requirements.txt"
        requirements.write_text("plumb==1.0\n")
        environment = Environment(folder=tmp_path / "env", build=tmp_path / "build")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment.folder)], check=True)
        environment.prepare(requirements)
        assert installed_version(environment, "plumb") == "1.0"

    def test_that_cannot_be_made_says_so(self, tmp_path):
        (tmp_path / "requirements.txt").write_text("plumb==1.0\n")
        (tmp_path / "env").write_text("a file is in the way")
        environment = Environment(folder=tmp_path / "env", build=tmp_path / "build")
        with pytest.raises(Stop, match=r"No environment could be made in .*env .*same command again"):
            environment.prepare(tmp_path / "requirements.txt")


class TestFingerprint:
    def test_follows_every_included_file(self, tmp_path):
        base, development = tmp_path / "requirements.txt", tmp_path / "requirements-dev.txt"
        base.write_text("plumb==1.0\n")
        development.write_text("-r requirements.txt\nlevel==1.0\n")
        before = fingerprint(base), fingerprint(development)
        assert before == (fingerprint(base), fingerprint(development))
        base.write_text("plumb==1.1\n")
        assert fingerprint(base) != before[0]
        assert fingerprint(development) != before[1]

    def test_is_the_same_with_the_line_ends_of_windows(self, tmp_path):
        unix, windows = tmp_path / "unix.txt", tmp_path / "windows.txt"
        unix.write_bytes(b"plumb==1.0\nlevel==1.0\n")
        windows.write_bytes(b"plumb==1.0\r\nlevel==1.0\r\n")
        assert fingerprint(unix) == fingerprint(windows)


class TestTheProjectsRequirements:
    @pytest.mark.parametrize("requirements", [RUNTIME, DEVELOPMENT])
    def test_pin_every_package_and_name_no_place(self, requirements):
        lines = [line.strip() for line in requirements.read_text(encoding="utf-8").splitlines()]
        packages = [line for line in lines if line and not line.startswith(("#", "-r "))]
        for line in packages:
            assert "==" in line, line
            assert "+" not in line, f"{line}: a local version is on no index"
            assert "/" not in line, line
        names = [line.split("==")[0].lower().replace("_", "-") for line in packages]
        assert len(names) == len(set(names))

    def test_install_on_every_python_of_the_wanted_version(self):
        first = f"{WANTED[0]}.{WANTED[1]}.0"
        for name in (package.split("==")[0] for package in pinned(RUNTIME)):
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # it is for another operating system
                accepted = importlib.metadata.metadata(name).get("Requires-Python") or ""
                assert SpecifierSet(accepted).contains(first), f"{name} needs Python {accepted}"

    def test_hold_what_is_known_to_work_together(self):
        assert {
            *("torch==2.13.0", "monailabel==0.8.5", "monai==1.6.1", "nnunetv2==2.8.1", "pytorch-ignite==0.5.5"),
            *("numpy==1.26.4", "nibabel==5.4.2", "pydicom==2.4.5", "highdicom==0.22.0"),
        } <= set(pinned(RUNTIME))
        assert set(pinned(RUNTIME)) < set(pinned(DEVELOPMENT))


class TestHalfInstalled:
    def test_loses_its_record_and_whole_packages_keep_theirs(self, tmp_path):
        site = tmp_path / "lib" / "python3.11" / "site-packages"
        for name, files in {"half-1.0": ["METADATA"], "whole-1.0": ["METADATA", "RECORD"]}.items():
            for file in files:
                (site / f"{name}.dist-info").mkdir(parents=True, exist_ok=True)
                (site / f"{name}.dist-info" / file).write_text("")
        remove_half_installed(tmp_path)
        assert not (site / "half-1.0.dist-info").exists()
        assert (site / "whole-1.0.dist-info" / "RECORD").exists()


HOLDER = """
import sys
from pathlib import Path
from scripts.environment import one_at_a_time
with one_at_a_time(Path(sys.argv[1])):
    print("holding", flush=True)
    sys.stdin.read()
"""


class TestTwoAtOnce:
    def test_the_second_waits_says_so_and_a_killed_holder_holds_nothing(self, tmp_path, capfd):
        lock = tmp_path / "lock"
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(lock)],
            cwd=RUNTIME.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as holder:
            assert holder.stdout.readline().strip() == "holding"
            got = threading.Event()

            def take() -> None:
                with one_at_a_time(lock):
                    got.set()

            second = threading.Thread(target=take)
            second.start()
            time.sleep(1)
            assert not got.is_set()
            holder.kill()
            second.join(timeout=20)
        assert got.is_set()
        assert "waiting for it to finish" in capfd.readouterr().out


class TestProgramsOfTheSystem:
    def test_are_looked_for_by_their_program_and_bring_what_goes_with_them(self, monkeypatch):
        monkeypatch.setattr("shutil.which", lambda name: None if name == "Orthanc" else f"/usr/bin/{name}")
        assert missing_programs() == ["orthanc", "orthanc-dicomweb"]

    def test_that_cannot_be_installed_are_named_in_a_sentence(self, tmp_path, monkeypatch):
        monkeypatch.setattr("os.geteuid", lambda: 1000, raising=False)
        assert "skipped for want of chromium" in install_programs(["chromium"])
        monkeypatch.setattr("os.geteuid", lambda: 0, raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert "skipped for want of chromium" in install_programs(["chromium"])
        if sys.platform != "win32":
            (tmp_path / "apt-get").write_text("#!/bin/sh\necho 'E: no such package'; exit 100\n")
            (tmp_path / "apt-get").chmod(0o755)
            assert "(E: no such package)" in install_programs(["chromium"])
