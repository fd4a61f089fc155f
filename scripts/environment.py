"""The project's own environment in `.venv`, kept in step with the pinned requirements. Standard library only."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from scripts.command import Stop
from scripts.interpreter import WANTED

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
RUNTIME = ROOT / "requirements.txt"
DEVELOPMENT = ROOT / "requirements-dev.txt"


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and a note in it of which requirements it holds.

    Attributes:
        folder: where it is, or will be.
        build: folder for pip's log and for the lock.
    """

    folder: Path = ROOT / ".venv"
    build: Path = BUILD

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def log(self) -> Path:
        """Everything pip said at the last install."""
        return self.build / "install.log"

    def is_entered(self) -> bool:
        """Whether this very process runs in it."""
        return Path(sys.prefix).resolve() == self.folder.resolve()

    def is_ready(self, requirements: Path) -> bool:
        """Whether all that a requirements file asks for, as it reads now, was installed to the end."""
        try:
            installed = json.loads(self._note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return self.python.exists() and installed.get(requirements.name) == fingerprint(requirements)

    def prepare(self, requirements: Path) -> None:
        """Make the environment and install a requirements file; nothing is done where both are done.

        Two starts at once take turns. An interrupted install is taken up where it stopped.

        Raises:
            Stop: Python cannot make environments here, or the install failed.
        """
        if self.is_ready(requirements):
            return
        self.build.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(self.build / "environment.lock"):
            if self.is_ready(requirements):
                return
            if not self._works():
                self._create()
            self._install(requirements)

    @property
    def _note(self) -> Path:
        return self.folder / "installed.json"

    def _works(self) -> bool:
        """Whether it has a Python of the right version and a whole pip: its making may have been interrupted."""
        if not self.python.exists():
            return False
        question = f"import pip._internal, sys; sys.exit(sys.version_info[:2] != {WANTED!r})"
        return (
            subprocess.run([str(self.python), "-I", "-c", question], capture_output=True, check=False).returncode == 0
        )

    def _create(self) -> None:
        if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
            raise Stop(
                "This Python cannot make environments: add what is missing (on Debian and Ubuntu: "
                f"`apt install python{WANTED[0]}.{WANTED[1]}-venv`) and give the same command again."
            )
        print(f"Making an environment in {self.folder}", flush=True)
        command = [sys.executable, "-m", "venv", "--clear", str(self.folder)]
        made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if made.returncode != 0:
            reason = (made.stdout.strip().splitlines() or ["no reason given"])[-1]
            raise Stop(
                f"No environment could be made in {self.folder} ({reason}): see that the folder can be written to "
                "and that the disk has room, and give the same command again."
            )

    def _install(self, requirements: Path) -> None:
        packages = pinned(requirements)
        print(f"Installing {len(packages)} packages: this is done once, and takes some minutes and 5 GB", flush=True)
        self._note.unlink(missing_ok=True)
        remove_half_installed(self.folder)
        # sam2, which MONAI Label asks for, names torch among what it is built with; in pip's build isolation that is
        # a second download and unpacking of torch. With setuptools in place it builds without.
        tools = [package for package in packages if package.startswith(("pip==", "setuptools=="))]
        with self.log.open("w", encoding="utf-8") as log:
            if tools:
                self._pip(tools, log=log, packages=tools)
            self._pip(["--no-build-isolation", "-r", str(requirements)], log=log, packages=packages)
        part = self._note.with_suffix(".part")
        part.write_text(json.dumps({file.name: fingerprint(file) for file in included(requirements)}), encoding="utf-8")
        part.replace(self._note)

    def _pip(self, arguments: Sequence[str], *, log: IO[str], packages: Sequence[str]) -> None:
        """Run `pip install` and show how far it is with ``packages``."""
        command = [str(self.python), "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        progress = Progress(packages)
        errors = []
        with subprocess.Popen(
            # Compiling all modules takes a third of the time; Python compiles the few it imports by itself.
            [*command, "--no-compile", "--progress-bar", "off", *arguments],
            # sam2's CUDA extension would be compiled wherever there is a compiler; nothing here uses it.
            env={**os.environ, "SAM2_BUILD_CUDA": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as pip:
            try:
                for line in pip.stdout or ():
                    log.write(line)
                    progress.read(line)
                    if line.startswith("ERROR: "):
                        errors.append(line[len("ERROR: ") :].strip())
                code = pip.wait()
            finally:
                progress.end()
                if pip.poll() is None:
                    pip.terminate()
        if code != 0:
            reason = errors[-1].rstrip(".") if errors else f"pip ended with code {code}"
            raise Stop(
                f"The install failed ({reason}): see that the network is there and the disk has 5 GB, and give the "
                f"same command again, it goes on where it stopped; all that pip said is in {self.log}."
            )


class Progress:
    """Says how far pip is, from pip's own lines: one line that is written over in a terminal, many lines elsewhere."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._names = {package.split("==")[0].lower().replace("_", "-") for package in packages}
        self._seen: set[str] = set()

    def read(self, line: str) -> None:
        """Take one line of pip's output."""
        package = re.match(r"(?:Collecting|Processing|Requirement already satisfied:) (\S+)", line)
        download = re.match(r"\s*Downloading (\S+?)-.* \((\d{2,}\.?\d* MB|.* GB)\)", line)
        if package:
            name = re.split(r"==|-\d+\.", Path(package.group(1)).name)[0].lower().replace("_", "-")
            # pip comes back to a package when another one asks for it, then without its version.
            if name in self._names and name not in self._seen:
                self._seen.add(name)
                self._say(f"{len(self._seen)} of {len(self._names)}: {name}")
        elif download:
            self._say(f"{len(self._seen)} of {len(self._names)}: {download.group(1)}, {download.group(2)}")
        elif line.startswith("Ignoring "):  # it is meant for another operating system
            self._names.discard(line.split()[1].rstrip(":").lower())
        elif line.startswith("Installing collected packages"):
            self._say("all there, unpacking")
        elif line.startswith("Successfully installed"):
            self._say("installed")

    def end(self) -> None:
        """Leave the line that is written over."""
        if sys.stdout.isatty():
            print()

    def _say(self, text: str) -> None:
        if sys.stdout.isatty():
            print(f"\r  {text[:70]:<70}", end="", flush=True)
        else:
            print(f"  {text}", flush=True)


PROGRAMS = {"chromium": "chromium", "orthanc": "Orthanc"}
"""Debian packages that tests of the whole way need, each with a program that it brings."""
_WITH = {"orthanc": ("orthanc-dicomweb",)}


def missing_programs() -> list[str]:
    """The packages of :data:`PROGRAMS` whose program is not installed, and what goes with them."""
    missing = [package for package, program in PROGRAMS.items() if shutil.which(program) is None]
    return [name for package in missing for name in (package, *_WITH.get(package, ()))]


def install_programs(packages: Sequence[str]) -> str:
    """Install Debian packages, where that can be done without asking anybody; tests skip what is missing.

    Returns:
        A sentence on what was done.
    """
    names = ", ".join(packages)
    if shutil.which("apt-get") is None or os.name == "nt" or os.geteuid() != 0:
        return f"Some tests will be skipped for want of {names}; on Debian, `apt install` has them."
    print(f"Installing {names}: this is done once, and takes some minutes", flush=True)
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL, "text": True}
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", *arguments], env=environment, check=False, **quiet)  # type: ignore[call-overload]
        if done.returncode != 0:
            reason = (done.stdout.strip().splitlines() or ["no reason given"])[-1]
            return f"Some tests will be skipped for want of {names}, which could not be installed ({reason})."
    return f"Installed {names}."


def included(requirements: Path) -> list[Path]:
    """A requirements file and the files it includes with `-r`, itself first."""
    files = [requirements]
    for line in requirements.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            files += included(requirements.parent / line[3:].strip())
    return files


def pinned(requirements: Path) -> list[str]:
    """The lines `name==version` of a requirements file and of those it includes, without markers and comments."""
    lines = [line for file in included(requirements) for line in file.read_text(encoding="utf-8").splitlines()]
    return [line.split(";")[0].split("#")[0].strip() for line in lines if re.match(r"[\w.-]+==", line)]


def fingerprint(requirements: Path) -> str:
    """SHA-256 over what an install depends on: the Python version, and the file with all that it includes."""
    digest = hashlib.sha256("{}.{}".format(*WANTED).encode())
    for file in included(requirements):
        digest.update(file.read_text(encoding="utf-8").encode())
    return digest.hexdigest()


def remove_half_installed(environment: Path) -> None:
    """Remove the record of every package whose unpacking was cut off, so that pip installs it again.

    pip writes `RECORD` last, yet takes a package for installed as soon as its `.dist-info` has `METADATA`.
    """
    for info in environment.rglob("site-packages/*.dist-info"):
        if not (info / "RECORD").exists():
            shutil.rmtree(info)


@contextlib.contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Hold a lock file; when another process holds it, say so and wait. The system frees it when the holder dies."""
    with lock.open("a+b") as file:
        said = False
        while not _take(file):
            if not said:
                print("Another start of this project is installing: waiting for it to finish", flush=True)
                said = True
            time.sleep(0.5)
        yield


def _take(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
