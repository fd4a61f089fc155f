"""The registry: every version of every task's model, and which one answers."""

from __future__ import annotations

import logging
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from lib.anatomy.schemas import SCHEMAS
from lib.disk import make_folder, patiently, read_file, sync_folder, write_file
from lib.models.choice import VERSION, Choice, champion_before, from_text, to_text
from lib.models.files import disk_full, is_disk_full, locked, refusing_os_errors, sync_tree
from lib.models.manifest import Manifest
from lib.refusals import Refusal

MANIFEST = "manifest.json"
CHAMPION = "champion.json"
"""Names the champion of a task; one of a variant is named by ``champion-VARIANT.json``."""
_STAGING, _LOCK, _LAST = ".staging", ".lock", ".last"
_CHAMPION_OF = re.compile(r"champion(?:-([a-z0-9_-]+))?\.json")
_FOLD = re.compile(r"fold_(\d+)/.+")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Version:
    """A trained model that never changes.

    Attributes:
        folder: the weights in their own framework's layout, and ``manifest.json``.
        manifest: what it is.
    """

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """Its name within the task, for instance ``v0003``."""
        return self.manifest.version

    @property
    def fold_numbers(self) -> tuple[int, ...]:
        """The folds that there is a folder ``fold_N`` of, ascending."""
        found = (_FOLD.fullmatch(path) for path in self.manifest.files)
        return tuple(sorted({int(match[1]) for match in found if match}))


class Registry:
    """The folder of all models: ``ROOT/TASK/VERSION/`` and, beside the versions, the name of the champion.

    A version is built in a staging folder on the same disk and gets its name by a rename, so it is there as a whole
    or not at all, and nothing writes to it afterwards. Several processes may use one registry at once; one that is
    killed leaves at most a staging folder, which the next one removes.

    Args:
        root: made when the first version is staged.
    """

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root)

    @property
    def root(self) -> Path:
        """The folder with a folder for each task."""
        return self._root

    def workspace(self, task: str, variant: str = "") -> Path:
        """The folder, beside the versions of a task, in which the trainings of a variant keep what they need again.

        Raises:
            Refusal: there is no such task.
        """
        return self._folder(task) / _of_variant(".training", variant)

    @property
    def compiled(self) -> Path:
        """The folder for what engines compile from the versions; it may be deleted at any time."""
        return self._root / ".compiled"

    def versions(self, task: str) -> list[str]:
        """The names of a task's versions, oldest first; whether each can be used is known when it is opened.

        Raises:
            Refusal: there is no such task.
        """
        folder = self._folder(task)
        with refusing_os_errors(f"Listing the models of {task}"):
            names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
        return sorted((name for name in names if VERSION.fullmatch(name)), key=_number)

    def version(self, task: str, name: str) -> Version:
        """Open a version; its weights are not read.

        Raises:
            Refusal: there is no such version, its manifest is damaged, a file is missing or of another size, or its
                classes are not those of the task.
        """
        if name not in self.versions(task):
            there = ", ".join(self.versions(task)) or "none yet"
            raise Refusal(f"There is no version {name} of {task}; there are: {there}.", status=404)
        folder = self._folder(task) / name
        unusable = f"Version {name} of {task} cannot be used"
        try:
            text = read_file(folder / MANIFEST)
        except OSError as error:
            raise Refusal(f"{unusable}: its {MANIFEST} cannot be read ({error.strerror}).") from error
        manifest = Manifest.from_json(text, name=f"{unusable}: its {MANIFEST}")
        if (manifest.task, manifest.version) != (task, name):
            raise Refusal(f"{unusable}: its {MANIFEST} is that of {manifest.version} of {manifest.task}.")
        _check_classes(manifest, f"{unusable}:")
        _check_files(folder, manifest, f"{unusable}:")
        return Version(folder, manifest)

    def champion(self, task: str, variant: str = "") -> Version | None:
        """The version that answers for a variant, or ``None`` where none was chosen yet.

        A task's versions may be of several variants, for instance networks in two and in three dimensions; each variant
        has a champion of its own, and a request says which variant it wants. "" is the usual one.

        Raises:
            Refusal: the champion is not there or cannot be used, or the file that names it is damaged.
        """
        name = self.champion_name(task, variant)
        if name is None:
            return None
        if name not in self.versions(task):
            raise Refusal(
                f"{CHAMPION} of {task} names the version {name}, which is not there: put its folder back or choose "
                "another champion."
            )
        return self.version(task, name)

    def champion_name(self, task: str, variant: str = "") -> str | None:
        """The name of the version that answers, or ``None``; whether it is there is not looked at.

        Raises:
            Refusal: the file that names it is damaged.
        """
        history = self.history(task, variant)
        return history[-1].version if history else None

    def history(self, task: str, variant: str = "") -> tuple[Choice, ...]:
        """Every choice of a champion, oldest first; the last one holds.

        Raises:
            Refusal: the file that keeps them is damaged.
        """
        text = self.stamp(task, variant)
        try:
            return from_text(text) if text else ()
        except ValueError as error:
            raise Refusal(f"{CHAMPION} of {task} is damaged: choose the champion again.") from error

    def stamp(self, task: str, variant: str = "") -> str:
        """What differs as soon as another champion was chosen, and costs the reading of one line; "" without one.

        Raises:
            Refusal: there is no such task, or the file cannot be read.
        """
        path = self._folder(task) / _of_variant(CHAMPION, variant)
        with refusing_os_errors(f"Reading which model of {task} is the champion"):
            try:
                return read_file(path).decode(errors="replace")
            except FileNotFoundError:
                return ""

    def set_champion(self, task: str, name: str, *, reason: str = "", stamp: str | None = None) -> Version:
        """Let another version answer for its variant from now on; in one step, with the history of choices.

        Args:
            task: whose champion.
            name: the version.
            reason: why, as one sentence.
            stamp: what :meth:`stamp` said when the decision was made; ``None`` when no other choice can change it.

        Raises:
            Refusal: that version cannot be used, the choice cannot be written, or another one was made since the
                stamp; the champion stays as it was.
        """
        version = self.version(task, name)
        variant = version.manifest.variant
        with refusing_os_errors(f"Making {name} the champion of {task}"), locked(self._folder(task) / _LOCK):
            if stamp is not None and self.stamp(task, variant) != stamp:
                raise Refusal(f"Another champion of {task} was chosen meanwhile; {name} is kept.", status=409)
            try:
                history = self.history(task, variant)
            except Refusal as refusal:  # the way out of a damaged file is to choose again
                logger.warning("The earlier champions of %s are not known any more: %s", task, refusal)
                history = ()
            self._choose(task, variant, (*history, Choice(version=name, since=_now(), reason=reason)))
        return version

    def rollback(self, task: str, *, variant: str = "", reason: str = "") -> Version:
        """Let the champion before this one answer again; once more goes back one further.

        Args:
            task: whose champion.
            variant: of it.
            reason: why, as one sentence.

        Returns:
            The version that answers now.

        Raises:
            Refusal: there was no champion before, it cannot be used any more, or the choice cannot be written; the
                champion stays as it was.
        """
        if not self.history(task, variant):
            raise Refusal(f"{task} has no champion yet, so there is none to go back from.", status=409)
        with refusing_os_errors(f"Going back to the champion before of {task}"), locked(self._folder(task) / _LOCK):
            history = self.history(task, variant)
            name = champion_before(history)
            if name is None:
                raise Refusal(f"{task} had no champion before {history[-1].version}.", status=409)
            version = self.version(task, name)
            self._choose(task, variant, (*history, Choice(version=name, since=_now(), reason=reason, back=True)))
        return version

    def remove(self, task: str, name: str) -> None:
        """Remove a version for good, to make room; its name is never given again.

        Raises:
            Refusal: it is the champion, or the one that :meth:`rollback` would go back to; or it is not there or cannot
                be removed.
        """
        with refusing_os_errors(f"Removing {name} of {task}"), locked(self._folder(task) / _LOCK):
            histories = [self.history(task, variant) for variant in self.variants(task)]
            if any(name in {history[-1].version, champion_before(history)} for history in histories if history):
                raise Refusal(f"{name} of {task} answers, or would after going back; it is not removed.", status=409)
            if name not in self.versions(task):
                raise Refusal(f"There is no version {name} of {task}.", status=404)
            stagings = self._folder(task) / _STAGING
            make_folder(stagings)
            # Gone in one step; what an interruption leaves is removed with the next version that is made.
            going = stagings / uuid.uuid4().hex
            patiently(lambda: (self._folder(task) / name).rename(going))
            shutil.rmtree(going)

    def variants(self, task: str) -> list[str]:
        """The variants of a task of which a champion was chosen, the usual one ("") first.

        Raises:
            Refusal: there is no such task.
        """
        folder = self._folder(task)
        with refusing_os_errors(f"Listing the champions of {task}"):
            names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(match[1] or "" for name in names if (match := _CHAMPION_OF.fullmatch(name)))

    def _choose(self, task: str, variant: str, history: tuple[Choice, ...]) -> None:
        """Write the choices; the caller holds the lock."""
        write_file(self._folder(task) / _of_variant(CHAMPION, variant), to_text(history).encode())

    @contextmanager
    def staging(self, task: str) -> Iterator[Path]:
        """An empty folder to build a version in, on the disk of the versions.

        Unless it is published it is removed at the end. Folders that processes left when they were killed are removed
        at the beginning.

        Raises:
            Refusal: there is no such task, the folder cannot be made, or the disk got full in the ``with`` block.
        """
        purpose = f"Keeping a new version of {task}"
        with refusing_os_errors(purpose):
            stagings = self._folder(task) / _STAGING
            make_folder(stagings)
            # The lock tells other processes that this one is alive: the system drops it when the process dies.
            with locked(self._folder(task) / _LOCK):
                _remove_left_overs(stagings)
                folder = stagings / uuid.uuid4().hex
                alive = FileLock(_lock_of(folder), thread_local=False)
                alive.acquire(timeout=0)
                folder.mkdir()
        try:
            yield folder
        except OSError as error:
            if is_disk_full(error):
                raise disk_full(purpose) from error
            raise
        finally:
            _remove_staging(folder, alive)

    def publish(self, staging: Path, manifest: Manifest) -> Version:
        """Make a version of what a staging folder holds; it is seen from now on, but not the champion.

        Args:
            staging: from :meth:`staging`, filled.
            manifest: its name and files are filled in here.

        Raises:
            Refusal: the classes are not those of the task, or it cannot be written; no version was added.
            ValueError: this is no staging folder of the task, it is empty, or it holds links.
        """
        task = manifest.task
        folder = self._folder(task)
        if staging.parent != folder / _STAGING:
            raise ValueError(f"{staging} is no staging folder of {task}")
        _check_classes(manifest, f"The new version of {task} cannot be kept:")
        with refusing_os_errors(f"Keeping a new version of {task}"):
            files = _sizes(staging)
            sync_tree(staging)
            with locked(folder / _LOCK):
                name = self._next_name(task)
                manifest = replace(manifest, version=name, files=files)
                write_file(staging / MANIFEST, manifest.to_json().encode())
                patiently(lambda: staging.rename(folder / name))
                sync_folder(folder)
        return Version(folder / name, manifest)

    def _next_name(self, task: str) -> str:
        """A name that was never given before, also not to a version that was removed since."""
        folder = self._folder(task)
        last = folder / _LAST
        given = [_number(path.name) for path in folder.iterdir() if VERSION.fullmatch(path.name)]
        remembered = last.read_text().strip() if last.exists() else ""
        number = max([*given, int(remembered) if remembered.isdecimal() else 0], default=0) + 1
        write_file(last, f"{number}\n".encode())
        return f"v{number:04d}"

    def _folder(self, task: str) -> Path:
        if task not in SCHEMAS:
            raise Refusal(f"There is no task {task}; there are: {', '.join(SCHEMAS)}.", status=404)
        return self._root / task


def _of_variant(name: str, variant: str) -> str:
    """The name of a variant's file or folder."""
    stem, dot, suffix = name[1:].partition(".")
    return f"{name[0]}{stem}-{variant}{dot}{suffix}" if variant else name


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _number(name: str) -> int:
    return int(name.removeprefix("v"))


def _check_classes(manifest: Manifest, beginning: str) -> None:
    """Refuse a version that shows other structures than the task, or under other values if it was trained here."""
    schema = SCHEMAS[manifest.task]
    if set(manifest.classes) != set(schema.names):
        raise Refusal(
            f"{beginning} it shows {', '.join(manifest.classes)}, but {manifest.task} is {', '.join(schema.names)}."
        )
    if not manifest.imported and manifest.classes != schema.ids:
        raise Refusal(f"{beginning} it numbers the structures as {manifest.classes}, but they are {schema.ids}.")


def _check_files(folder: Path, manifest: Manifest, beginning: str) -> None:
    for path, size in manifest.files.items():
        try:
            found = (folder / path).stat().st_size
        except OSError as error:
            raise Refusal(f"{beginning} {path} cannot be read ({error.strerror}).") from error
        if found != size:
            raise Refusal(f"{beginning} {path} has {found:,} bytes and not the {size:,} that were written.")


def _sizes(folder: Path) -> dict[str, int]:
    paths = sorted(folder.rglob("*"))
    if any(path.is_symlink() for path in paths):
        raise ValueError("a version holds no links: what they lead to could change")
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths if path.is_file()}
    if not sizes:
        raise ValueError("the staging folder is empty")
    return sizes


def _lock_of(staging: Path) -> Path:
    return staging.with_name(f"{staging.name}{_LOCK}")


def _remove_left_overs(stagings: Path) -> None:
    """Remove the staging folders whose processes are dead; the caller holds the task's lock."""
    for name in {path.name.removesuffix(_LOCK) for path in stagings.iterdir()}:
        lock = FileLock(_lock_of(stagings / name), thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _remove_staging(stagings / name, lock)


def _remove_staging(folder: Path, lock: FileLock) -> None:
    """Remove a staging folder, if it was not published, and its lock, which the caller holds."""
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:  # not what the user asked for: it is tried again at the next staging
        logger.warning("The staging folder %s could not be removed: %s", folder.name, error.strerror)
    lock.release()
    with suppress(PermissionError):  # Windows, while another process tries the lock; that one removes it
        _lock_of(folder).unlink(missing_ok=True)
