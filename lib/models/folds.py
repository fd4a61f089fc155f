"""The fold of every patient: decided once, and the same for ever."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from lib.disk import make_folder, read_file, write_file
from lib.models.files import locked, refusing_os_errors
from lib.refusals import Refusal

FOLDS = 5


class FoldBook:
    """A file that remembers which fold validates on a patient.

    A network must never be judged on a patient it was trained on, nor may last month's network have seen whom today's
    is judged on. So a patient keeps the fold, whatever else is added or taken away. Several processes may use one
    file at once.

    Args:
        path: of the file; made when the first patient gets a fold.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._lock = self._path.with_name(f"{self._path.name}.lock")

    @property
    def count(self) -> int | None:
        """How many folds there are; ``None`` where no patient has one yet.

        Raises:
            Refusal: the file is damaged.
        """
        book = self._book()
        return book.folds if book else None

    def assign(
        self, patients: Iterable[str], count: int = FOLDS, *, known: Mapping[str, int] | None = None
    ) -> dict[str, int]:
        """The fold of each of these patients; who has none yet gets one, and keeps it.

        New patients go where the fewest of ``patients`` are, so folds are as even as what was decided before allows.
        A fold may stay empty when there are fewer patients than folds, or when all of them had their fold before.

        Args:
            patients: who is to be trained on; repetitions do not matter, nor does the order.
            count: number of folds.
            known: folds that were decided earlier, for instance those in the champion's manifest. They are taken over
                where the file does not know the patient, so a lost file does not move anybody.

        Returns:
            The fold of each patient, 0 to ``count - 1``.

        Raises:
            Refusal: the file is damaged or for another number of folds, contradicts ``known``, or cannot be written.
            ValueError: a patient has no name.
        """
        wanted = set(patients)
        if "" in wanted:
            raise ValueError("a patient without a name: all such patients would share a fold")
        with refusing_os_errors(f"Keeping the folds of the patients in {self._path.name}"):
            make_folder(self._path.parent)
            with locked(self._lock):
                before = self._read(count)
                folds = self._with_known(before, known or {}, count)
                _add_missing(folds, wanted, count)
                if folds != before:
                    book = _Book(folds=count, patients=dict(sorted(folds.items())))
                    write_file(self._path, (json.dumps(asdict(book), indent=1, ensure_ascii=False) + "\n").encode())
        return {patient: folds[patient] for patient in wanted}

    def _read(self, count: int) -> dict[str, int]:
        book = self._book()
        if book is None:
            return {}
        if book.folds != count:
            raise Refusal(f"The patients are in {book.folds} folds for ever ({self._path.name}), not in {count}.")
        return book.patients

    def _book(self) -> _Book | None:
        try:
            return _ADAPTER.validate_json(read_file(self._path))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise Refusal(
                f"The file of the patients' folds, {self._path.name}, is damaged: restore it from a backup, since "
                "networks would otherwise be judged on patients that they were trained on."
            ) from error

    def _with_known(self, folds: Mapping[str, int], known: Mapping[str, int], count: int) -> dict[str, int]:
        moved = sorted(patient for patient, fold in known.items() if folds.get(patient, fold) != fold)
        if moved:
            raise Refusal(
                f"Patient {moved[0]} is in fold {folds[moved[0]]} in {self._path.name}, but an earlier version was "
                f"trained with fold {known[moved[0]]}: restore the file from a backup."
            )
        if any(not 0 <= fold < count for fold in known.values()):
            raise Refusal(f"An earlier version was trained with more than {count} folds.")
        return {**folds, **known}


@dataclass(frozen=True)
class _Book:
    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")

    folds: Annotated[int, Field(ge=1)]
    patients: dict[Annotated[str, Field(min_length=1)], Annotated[int, Field(ge=0)]]

    def __post_init__(self) -> None:
        if any(fold >= self.folds for fold in self.patients.values()):
            raise ValueError("a fold that does not exist")


_ADAPTER = TypeAdapter(_Book)


def _add_missing(folds: dict[str, int], wanted: set[str], count: int) -> None:
    """Give a fold to those of ``wanted`` who have none."""
    here = Counter(folds[patient] for patient in wanted if patient in folds)
    everywhere = Counter(folds.values())
    # By digest: neighbours in a list of names are often alike, and the order they come in must not matter.
    for patient in sorted(wanted - folds.keys(), key=lambda name: hashlib.sha256(name.encode()).digest()):
        fold = min(range(count), key=lambda number: (here[number], everywhere[number], number))
        folds[patient] = fold
        here[fold] += 1
        everywhere[fold] += 1
