"""What is wrong with which file, found out before anything is taken in."""

from __future__ import annotations

import csv
import hashlib
import io
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from lib.datasets.found import Found, FoundCase
from lib.datasets.mapping import Rule, Use
from lib.datasets.reading import FirstLabel, read_labels
from lib.datasets.twins import Twin, Twins, slice_digests
from lib.images import CTImage, parse_facts, read_ct
from lib.images.files import IMAGE_SUFFIXES, image_suffix
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.geometry import Grid, read_grid
from lib.stores.history import label_file
from lib.stores.names import check_new_id
from lib.stores.records import FINAL
from lib.stores.saving import checked_labels

_SAME_PIXELS_MM = 1e-3


class Weight(StrEnum):
    """Whether a finding keeps a case out."""

    FAULT = "fault"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something about a file.

    Attributes:
        case: its case.
        file: relative to the folder that was looked at.
        weight: a case with a fault is not taken in.
        what: a sentence.
    """

    case: str
    file: str
    weight: Weight
    what: str


@dataclass(frozen=True, kw_only=True)
class Importing:
    """How a folder is taken in.

    Attributes:
        found: the folder.
        mapping: the rules of each name.
        prefix: before the names of all cases.
        author: of labels whose author nothing tells; the dataset by default.
        newer: a label of a case that has one of the task already becomes a newer revision; it is left out otherwise.
        facts: what is known of the patients besides, by the name of the case (without the prefix).
    """

    found: Found
    mapping: Mapping[str, tuple[Rule, ...]]
    prefix: str = ""
    author: str = ""
    newer: bool = False
    facts: Mapping[str, Mapping[str, Any]]

    def name_of(self, case: FoundCase) -> str:
        """What a case is called in the store."""
        return f"{self.prefix}{case.name}"

    def facts_of(self, case: FoundCase) -> dict[str, Any]:
        """What is known of its patient."""
        return {**case.facts, **self.facts.get(case.name, {})}


def findings_csv(findings: tuple[Finding, ...]) -> str:
    """The findings as CSV."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["case", "file", "weight", "what"])
    writer.writerows([each.case, each.file, str(each.weight), each.what] for each in findings)
    return text.getvalue()


def check(importing: Importing, store: CaseStore) -> Iterator[tuple[FoundCase | None, list[Finding], set[str]]]:
    """Check one case after the other; nothing is written into the store.

    Yields:
        The case (``None`` for files of no case), what was found, and names that the mapping does not hold.
    """
    found = importing.found
    for path, why in found.passed_over.items():
        yield None, [_finding("", path, found, Weight.NOTE, f"It was passed over: {why}.")], set()
    looked = StoreTwins(store, {importing.name_of(case): importing.facts_of(case) for case in found.cases})
    for case in found.cases:
        yield case, *_check_case(case, importing, store, looked)


def is_there(store: CaseStore, name: str) -> bool:
    """Whether a store has a case."""
    return name in store.list_images()


class StoreTwins:
    """Looks for the pictures of a case in the cases before it and in the store.

    Args:
        store: the store.
        facts: the cases that are looked at, which are not compared with themselves, with ``patient`` where it is known.
    """

    def __init__(self, store: CaseStore, facts: Mapping[str, Mapping[str, Any]]) -> None:
        self._store = store
        self._facts = facts
        self._twins = Twins()
        self._unread: dict[str, Grid] | None = None

    def of(self, name: str, image: CTImage) -> list[Twin]:
        """The cases with the same pictures."""
        self._read_alike(image)
        return self._twins.add(name, slice_digests(image))

    def patient(self, name: str) -> str:
        """Whose a case is."""
        if name in self._facts:
            return str(self._facts[name].get("patient") or name)
        return self._store.patient(name)

    def _read_alike(self, image: CTImage) -> None:
        """Read those cases of the store whose pixels are as many and as large as the image's."""
        if self._unread is None:
            names = [name for name in self._store.list_images() if name not in self._facts]
            grids = ((name, self._grid(name)) for name in names)
            self._unread = {name: grid for name, grid in grids if grid is not None}
        own = _pixels(image.shape, image.affine)
        for name, grid in list(self._unread.items()):
            shape, spacing = _pixels(grid.shape, grid.affine)
            if shape == own[0] and np.allclose(spacing, own[1], atol=_SAME_PIXELS_MM):
                del self._unread[name]
                self._twins.add(name, slice_digests(read_ct(self._store.get_image_uri(name))))

    def _grid(self, name: str) -> Grid | None:
        try:
            return read_grid(Path(self._store.get_image_uri(name)))
        except Refusal:
            return None  # an image that cannot be used; the store says so itself


def _pixels(shape: tuple[int, ...], affine: np.ndarray) -> tuple[tuple[int, ...], list[float]]:
    """Number and size of the pixels of an axial slice, in the order of the body."""
    upright = CTImage(hu=np.broadcast_to(np.int16(0), shape), affine=affine).canonical()
    return upright.shape[:2], [float(each) for each in upright.spacing[:2]]


def _finding(name: str, file: Path, found: Found, weight: Weight, what: str) -> Finding:
    relative = file.relative_to(found.root).as_posix() if file.is_relative_to(found.root) else file.name
    return Finding(case=name, file=relative, weight=weight, what=what)


def _check_case(
    case: FoundCase, importing: Importing, store: CaseStore, twins: StoreTwins
) -> tuple[list[Finding], set[str]]:
    found, name = importing.found, importing.name_of(case)
    findings: list[Finding] = []

    def say(file: Path, what: str, weight: Weight = Weight.FAULT) -> None:
        findings.append(_finding(name, file, found, weight, what))

    if case.image is None:
        for lonely in case.labels:
            say(lonely.file, "There is no image to this label.")
        return findings, set()
    try:
        check_new_id(name)
        image = read_ct(case.image)
    except Refusal as refusal:
        say(case.image, str(refusal))
        return findings, set()
    if not image_suffix(case.image.name):
        say(case.image, f"It is none of the formats that are taken in: {', '.join(IMAGE_SUFFIXES)}.")
    for problem in parse_facts(importing.facts_of(case))[1].values():
        say(case.image, problem)
    digests = slice_digests(image)
    for other in case.other_images:
        if not _is_same_image(other, image, digests):
            say(other, f"Another image is called {case.name} as well: {case.image.name} in {case.image.parent.name}.")
    known = is_there(store, name)
    if known and not _is_same_image(Path(store.get_image_uri(name)), image, digests):
        say(case.image, f"There is another image called {name} in the store; add a --prefix.")
    for twin in twins.of(name, image):
        if twin.all_shared:
            say(case.image, f"It is the same CT as {twin.other}.")
        if twins.patient(name) != twins.patient(twin.other):
            say(
                case.image,
                f"It shares {twin.shared} slices with {twin.other}: the same patient under two names, "
                f"{twins.patient(name)} and {twins.patient(twin.other)}; say whose they are with --facts.",
            )
    if not case.labels:
        say(case.image, "There is no label to this image.", Weight.NOTE)
    grid = Grid(shape=image.shape, affine=image.affine, file_shape=image.file_shape)
    read = read_labels(case, found, grid, importing.mapping, author=importing.author)
    for file, what in read.faults:
        say(file, what)
    for file, what in read.notes:
        say(file, what, Weight.NOTE)
    for label in read.labels:
        file = found.root / label.info["imported"]["files"][0]
        try:
            standing = standing_of(label, name, grid, store if known else None, newer=importing.newer)
        except Refusal as refusal:
            say(file, str(refusal))
        else:
            if standing:
                say(file, standing, Weight.NOTE)
    return findings, read.unknown


def standing_of(label: FirstLabel, name: str, grid: Grid, store: CaseStore | None, *, newer: bool) -> str:
    """Why a label is not taken in, in a sentence; "" where it is.

    Args:
        label: the label.
        name: of its case.
        grid: of its image.
        store: where the case is already, or ``None``.
        newer: see :class:`Importing`.

    Raises:
        Refusal: no store would accept it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "label.nii.gz"
        path.write_bytes(label_file(label.array, grid))
        (stored,) = checked_labels(path, grid=grid, info=label.info)
    if store is None:
        return ""
    digest = hashlib.sha256(label_file(stored.array, grid)).hexdigest()
    revisions = store.revisions(name, label.task)
    same = next((each for each in revisions if each.sha256 == digest), None)
    if same is not None:
        return f"This label of {label.task} is there already, as revision {same.number}."
    current = store.current_revision(name, label.task)
    if current is None or (newer and label.use is Use.FINAL):
        return ""
    hint = " (--newer takes it in as a newer revision)" if label.use.value == FINAL else ""
    by = f" by {current.author}" if current.author else ""
    return f"{name} has a label of {label.task}{by} already, which stays{hint}."


def _is_same_image(path: Path, image: CTImage, digests: frozenset[bytes]) -> bool:
    """Whether a file holds the same voxels at the same place."""
    own = Grid(shape=image.shape, affine=image.affine, file_shape=image.file_shape)
    try:
        return read_grid(path).same_place(own) and slice_digests(read_ct(path)) == digests
    except Refusal:
        return False
