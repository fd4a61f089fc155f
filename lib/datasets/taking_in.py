"""Taking checked cases into a store: images that are not there, and labels with where they come from."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from lib.datasets.checking import Importing, is_there, standing_of
from lib.datasets.found import FoundCase
from lib.datasets.reading import read_labels
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.geometry import read_grid
from lib.stores.history import label_file
from lib.stores.patient import KEPT


@dataclass(frozen=True, kw_only=True)
class TakenIn:
    """What became of a case.

    Attributes:
        image: it is new.
        labels: the tasks of which a label was stored.
    """

    image: bool
    labels: tuple[str, ...]


def take_in(case: FoundCase, importing: Importing, store: CaseStore) -> TakenIn:
    """Take a case in; what is there already stays as it is, so an interrupted run is simply repeated.

    Args:
        case: one that the check found sound.
        importing: how.
        store: where to.

    Raises:
        Refusal: it changed since the check, or the disk is full.
    """
    if case.image is None:
        raise Refusal(f"There is no image of {case.name}.")
    name = importing.name_of(case)
    is_new = not is_there(store, name)
    if is_new:
        facts = {key: value for key, value in importing.facts_of(case).items() if key in KEPT}
        store.add_image(name, str(case.image), {**facts, "dataset": importing.found.dataset})
    grid = read_grid(Path(store.get_image_uri(name)))
    read = read_labels(case, importing.found, grid, importing.mapping, author=importing.author)
    if read.faults:
        raise Refusal(f"{read.faults[0][0].name}: {read.faults[0][1]}")
    stored = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "label.nii.gz"
        for label in read.labels:
            if standing_of(label, name, grid, store, newer=importing.newer):
                continue
            path.write_bytes(label_file(label.array, grid))
            store.save_label(name, str(path), label.use.value, dict(label.info))
            stored.append(label.task)
    return TakenIn(image=is_new, labels=tuple(stored))
