"""Many phantoms in a folder: images that a server can offer, their labels, and a table of who they are."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout
from threadpoolctl import threadpool_limits

from lib.anatomy.schemas import STORED_SCHEMAS
from lib.images import CTImage, write_label
from lib.images.files import read_volume, write_ct
from lib.phantoms.dicom import as_series, write_dicom_series
from lib.phantoms.person import CONDITIONS, HARD_SHARE, VARIANT_SHARE, draw_person
from lib.phantoms.phantom import Phantom
from lib.phantoms.scanner import draw_scanner

if TYPE_CHECKING:
    from lib.stores import CaseStore

Format = Literal["nifti", "dicom"]
TRUTH = "truth"
"""Folder of the labels, ``truth/TASK/CASE.nii.gz``; a server takes nothing in it for a case or for a finished label."""
TABLE, PLAN = "cohort.csv", "cohort.json"
AUTHOR = "phantom"
_MOST = 100_000
_AREAS = {
    "psoas": "l3_muscle",
    "paraspinal": "l3_muscle",
    "abdominal_wall": "l3_muscle",
    "visceral_fat": "l3_tissue",
    "l3_subcutaneous_fat": "l3_tissue",
}
COLUMNS = (
    "patient_id", "case", "seed", "region", "sex", "age_years", "height_m", "weight_kg", "muscle_hu",
    "lumbar", "rib_12", "rib_l1", "transition", *CONDITIONS,
    "columns", "rows", "slices", "pixel_mm", "slice_mm", "kvp", "kernel",
    "l3_x_mm", "l3_y_mm", "l3_z_mm", "l3_slice", *(f"{name}_cm2" for name in _AREAS),
)  # fmt: skip
"""Of the table. Strengths are 0 to 1; the endplate of L3 is in RAS+ mm; areas are those of the label on that slice."""


@dataclass(frozen=True, kw_only=True)
class CohortPlan:
    """What a cohort is made of; the same plan gives the same cohort.

    Attributes:
        region: what is scanned.
        count: number of cases.
        seed: of the cohort; cohorts with different seeds share nobody.
        format: a NIfTI file or a folder with a DICOM series for each case.
        matrix: voxels along each side of a slice; by chance if left out.
        slice_mm: thickness of the slices; by chance if left out.
        conditions: what everybody has, and nothing else; by chance if left out.
        hard_share: share of people with a condition that makes a case hard, when conditions are left to chance.
        variant_share: share of people with an anatomic variant of the spine.
        labels: whether labels are written.
    """

    region: str = "abdomen"
    count: int = 10
    seed: int = 0
    format: Format = "nifti"
    matrix: int | None = None
    slice_mm: float | None = None
    conditions: Mapping[str, float] | None = None
    hard_share: float = HARD_SHARE
    variant_share: float = VARIANT_SHARE
    labels: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.count <= _MOST:
            raise ValueError(f"A cohort has 1 to {_MOST:,} cases, got {self.count}.")
        if self.format not in get_args(Format):
            raise ValueError(f"The format is {' or '.join(get_args(Format))}, got {self.format!r}.")
        if self.matrix is not None and not 32 <= self.matrix <= 2048:
            raise ValueError(f"A slice has 32 to 2048 voxels along a side, got {self.matrix}.")
        if self.slice_mm is not None and not 0.5 <= self.slice_mm <= 20:
            raise ValueError(f"Slices are 0.5 to 20 mm thick, got {self.slice_mm:g}.")
        if self.seed < 0:
            raise ValueError(f"A seed is 0 or more, got {self.seed}.")
        self.phantom(0)  # refuses what no phantom can be made with

    def seed_of(self, number: int) -> int:
        """The seed of a case, which also names its patient: the same in every region."""
        return self.seed * _MOST + number

    def case(self, number: int) -> str:
        """The id of a case."""
        return f"phantom_{self.region}_{self.seed_of(number):08d}"

    def phantom(self, number: int) -> Phantom:
        """A case.

        Raises:
            ValueError: the plan asks for something that does not exist.
        """
        seed = self.seed_of(number)
        rng = np.random.Generator(np.random.PCG64([seed, 1]))
        person = draw_person(rng, hard_share=self.hard_share, variant_share=self.variant_share)
        scanner = draw_scanner(np.random.Generator(np.random.PCG64([seed, 2])))
        scanner = replace(scanner, matrix=self.matrix or scanner.matrix, slice_mm=self.slice_mm or scanner.slice_mm)
        return Phantom(seed, self.region, person=person, nearest=True, conditions=self.conditions, scanner=scanner)


class Cohort:
    """The folder that a plan's cases are in, or will be.

    Args:
        folder: made if need be.
        plan: what is to be in it.

    Raises:
        ValueError: the folder holds another cohort.
    """

    def __init__(self, folder: Path, plan: CohortPlan) -> None:
        self.folder, self.plan = folder, plan
        self._rows: dict[str, dict[str, str]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._check_plan()
        self._rows = {row["case"]: row for row in read_table(folder)}
        if len(self._rows) > plan.count:
            raise ValueError(f"The cohort in {folder} has {len(self._rows)} cases already, more than {plan.count}.")

    @property
    def missing(self) -> list[int]:
        """The numbers of the cases that are not finished."""
        return [n for n in range(self.plan.count) if not self._is_finished(self.plan.case(n))]

    def write(self, *, workers: int = 1, on_case: Callable[[str], object] | None = None) -> None:
        """Write the cases that are missing. It may be interrupted at any time, and gone on with.

        Args:
            workers: processes that work at once.
            on_case: called with the id of every case that is finished.

        Raises:
            ValueError: another process is writing to the folder, or a case cannot be made.
        """
        try:
            with FileLock(self.folder / ".cohort.lock", timeout=0):
                self._remove_left_overs()
                _replace_text(self.folder / PLAN, json.dumps(self._identity, indent=2) + "\n")
                self._write_table()
                for row in self._made(self.missing, workers=workers):
                    self._rows[row["case"]] = row
                    with (self.folder / TABLE).open("a", encoding="utf-8", newline="") as table:
                        table.write(_lines([row]))
                    if on_case is not None:
                        on_case(row["case"])
                self._write_table()
        except Timeout as error:
            raise ValueError(f"Another process is writing the cohort in {self.folder}.") from error

    @property
    def _identity(self) -> dict[str, Any]:
        """What must stay the same for a cohort to be gone on with; it may grow."""
        plan = asdict(
            replace(self.plan, conditions=None if self.plan.conditions is None else dict(self.plan.conditions))
        )
        del plan["count"]
        return {"what": "digital phantoms, not patients", **plan}

    def _check_plan(self) -> None:
        try:
            there = json.loads((self.folder / PLAN).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except ValueError as error:
            raise ValueError(f"{self.folder / PLAN} is damaged; take another folder.") from error
        mine = json.loads(json.dumps(self._identity))
        differing = [
            f"{name} {there.get(name)} (not {value})" for name, value in mine.items() if there.get(name) != value
        ]
        if differing:
            raise ValueError(
                f"The folder {self.folder} holds a cohort with {', '.join(differing)}; take another folder."
            )

    def _is_finished(self, case: str) -> bool:
        return case in self._rows and _image_path(self.folder, case, self.plan).exists()

    def _made(self, numbers: list[int], *, workers: int) -> Iterator[dict[str, str]]:
        if workers <= 1 or len(numbers) <= 1:
            for number in numbers:
                with threadpool_limits(1):  # many small systems of equations: threads cost more than they help
                    row = write_case(self.folder, self.plan, number)
                yield row
            return
        with _pool(min(workers, len(numbers))) as pool:
            with _interrupts_ignored():  # a process inherits that while it starts, before it can ask for it itself
                jobs = [pool.submit(write_case, self.folder, self.plan, number) for number in numbers]
            for job in as_completed(jobs):
                yield job.result()

    def _write_table(self) -> None:
        rows = [self._rows[case] for case in sorted(self._rows)]
        _replace_text(self.folder / TABLE, ",".join(COLUMNS) + "\n" + _lines(rows))

    def _remove_left_overs(self) -> None:
        """What an interrupted process was writing."""
        for path in (*self.folder.glob(".phantom_*.part*"), *(self.folder / TRUTH).glob("*/.phantom_*.part*")):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def read_table(folder: Path) -> list[dict[str, str]]:
    """The rows of a cohort's table; a last line that was cut short is left out."""
    try:
        text = (folder / TABLE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    whole = text[: text.rfind("\n") + 1]
    return [row for row in csv.DictReader(io.StringIO(whole)) if set(row) == set(COLUMNS) and None not in row.values()]


def write_case(folder: Path, plan: CohortPlan, number: int) -> dict[str, str]:
    """Write the labels and the image of one case, each whole or not at all, and give its row of the table."""
    phantom, case = plan.phantom(number), plan.case(number)
    image, turned = (phantom.image, False) if plan.format == "nifti" else as_series(phantom.image)
    labels = {task: _turned(phantom.label(task), turned=turned) for task in phantom.tasks}
    if plan.labels:
        for task, label in labels.items():
            target = folder / TRUTH / task / f"{case}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{case}.part.nii.gz")
            write_label(part, label, image)
            part.replace(target)
    target = _image_path(folder, case, plan)
    part = folder / (f".{case}.part.nii.gz" if plan.format == "nifti" else f".{case}.part")
    if plan.format == "nifti":
        write_ct(part, image)
    else:
        part.mkdir()
        write_dicom_series(
            part,
            image,
            patient_id=_patient_id(phantom),
            description=f"{plan.region} {case}",
            scanner=phantom.scanner,
            identity=f"{case} {sorted(phantom.person.conditions.items())} {phantom.scanner}",
        )
        if target.exists():
            shutil.rmtree(target)  # an interruption came before its row was in the table
    part.replace(target)
    return {name: str(value) for name, value in _row(phantom, image, labels, case=case).items()}


def save_labels(store: CaseStore, folder: Path, *, tasks: tuple[str, ...] | None = None) -> int:
    """Save a cohort's labels as final ones, so that a server has something to train with.

    Cases that are not in the store, and tasks that somebody has finished, are passed over.

    Args:
        store: holds the images of the cohort.
        folder: of the cohort.
        tasks: whose labels; all by default.

    Returns:
        How many labels were saved.
    """
    saved = 0
    for case in sorted(set(store.list_images()).intersection(row["case"] for row in read_table(folder))):
        for task in tasks or tuple(STORED_SCHEMAS):
            path = folder / TRUTH / task / f"{case}.nii.gz"
            if not path.exists() or store.current_label(case, task) is not None or not read_volume(path)[0].any():
                continue
            store.save_label(case, str(path), "final", {"task": task, "user": AUTHOR, "complete": True})
            saved += 1
    return saved


def _row(phantom: Phantom, image: CTImage, labels: Mapping[str, npt.NDArray], *, case: str) -> dict[str, Any]:
    person, variant, scanner = phantom.person, phantom.person.variant, phantom.scanner
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row |= {"patient_id": _patient_id(phantom), "case": case, "seed": phantom.seed, "region": phantom.region}
    row |= {name: getattr(person, name) for name in ("sex", "age_years", "height_m", "weight_kg", "muscle_hu")}
    row |= {"lumbar": variant.lumbar, "rib_12": variant.rib_12, "transition": variant.transition}
    row |= {"rib_l1": int(variant.rib_l1), **{name: f"{person.strength(name):g}" for name in CONDITIONS}}
    row |= dict(zip(("columns", "rows", "slices"), phantom.shape, strict=True))
    row |= {"pixel_mm": f"{phantom.spacing[0]:.4f}", "slice_mm": f"{phantom.spacing[2]:.3f}"}
    row |= {"kvp": scanner.kvp, "kernel": scanner.kernel}
    if "l3_muscle" in labels:
        row |= {f"l3_{axis}_mm": f"{mm:.2f}" for axis, mm in zip("xyz", phantom.l3_endplate_mm, strict=True)}
        index = image.slice_from_canonical(phantom.image.slice_from_canonical(phantom.l3_slice))
        row["l3_slice"] = index
        for name, task in _AREAS.items():
            plane = labels[task].take(index, image.foot_to_head_axis)
            area = int((plane == STORED_SCHEMAS[task][name].id).sum()) * image.slice_area_cm2()
            row[f"{name}_cm2"] = f"{area:.2f}"
    return row


def _patient_id(phantom: Phantom) -> str:
    return f"PHANTOM-{phantom.seed:08d}"


def _image_path(folder: Path, case: str, plan: CohortPlan) -> Path:
    return folder / (f"{case}.nii.gz" if plan.format == "nifti" else case)


def _turned(label: npt.NDArray[np.uint8], *, turned: bool) -> npt.NDArray[np.uint8]:
    return label[:, :, ::-1] if turned else label


def _lines(rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, COLUMNS, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _replace_text(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that leave Ctrl-C to this one, and are ended at once when anything goes wrong here."""
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker)
    try:
        yield pool
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpool_limits(1)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread, to which alone Ctrl-C comes
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
