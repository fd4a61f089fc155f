"""How long the store takes at a hundred thousand cases, beside MONAI Label's own store in the same run."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from monailabel.datastore.local import LocalDatastore
from monailabel.tasks.activelearning.epistemic import Epistemic
from monailabel.tasks.activelearning.first import First
from sqlalchemy import delete, insert

from lib.stores import CaseStore
from lib.stores.index import FEATURES, SCORES
from lib.stores.queue_rules import QueueRules
from lib.strategies.choice import AMONG
from lib.strategies.next_case import NextCase

_AFFINE = np.diag([-0.8, -0.8, 5.0, 1.0])
_SHAPE = (512, 512, 1)
_NAMES = ("psoas", "paraspinal", "abdominal_wall")
_LABEL_INFO = {"label_info": [{"name": name, "idx": n} for n, name in enumerate(_NAMES, start=1)], "client_id": "bench"}
_FEATURES = 480  # about as many as the bottleneck of a network has
_LINKS_PER_FILE = 30_000  # file systems limit the names that one file may have


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds that one operation took, several times over."""

    seconds: tuple[float, ...]

    def __str__(self) -> str:
        """Median and largest in milliseconds."""
        return f"{_ms(statistics.median(self.seconds))} (at most {_ms(max(self.seconds))})"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One operation, what it may take (s), and what it took in both stores."""

    operation: str
    bar_s: float
    ours: Timing
    stock: Timing

    @property
    def passed(self) -> bool:
        """Whether the median of this project's store is under the bar."""
        return statistics.median(self.ours.seconds) < self.bar_s


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a Markdown table, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="benchmark.py store", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="how many cases (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=50, help="how often each operation (default: %(default)s)")
    parser.add_argument("--stock-repeats", type=int, default=5, help="and in the other store (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where to make the temporary cases (default: the system's)")
    options = parser.parse_args(argv)
    if options.cases < options.repeats + 1:
        parser.error("--cases has to be larger than --repeats")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = _measure(Path(folder), cases=options.cases, repeats=options.repeats, stock_repeats=options.stock_repeats)
    print(f"Store at {options.cases:,} cases, median of {options.repeats} (MONAI Label's: {options.stock_repeats}):\n")
    print("| operation | bar | this store | | MONAI Label's own store |")
    print("| --- | --- | --- | --- | --- |")
    for row in rows:
        verdict = "ok" if row.passed else "**missed**"
        print(f"| {row.operation} | {_ms(row.bar_s)} | {row.ours} | {verdict} | {row.stock} |")
    return 0 if all(row.passed for row in rows) else 1


def _measure(folder: Path, *, cases: int, repeats: int, stock_repeats: int) -> list[Row]:
    label = folder / "label.nii.gz"
    drawn = np.zeros(_SHAPE, np.uint8)
    drawn[200:240, 200:260] = 1
    drawn[150:360, 280:340] = 2
    drawn[90:110, 150:330] = 3
    nib.save(nib.Nifti1Image(drawn, _AFFINE), label)
    for name in ("ours", "stock"):
        _fill(folder / name, cases=cases)
    time.sleep(2.5)  # a folder that was written to just now is listed again at every call

    CaseStore(folder / "ours").close()
    ours_open = _timed(lambda _: CaseStore(folder / "ours"), repeats=3)
    ours = CaseStore(folder / "ours")
    ours_save = _timed(lambda n: ours.save_label(_id(n), str(label), "final", dict(_LABEL_INFO)), repeats=repeats)
    ours_score = _timed(
        lambda n: ours.save_score(_id(n), task="l3_muscle", method="disagreement", value=float(n)), repeats=repeats
    )
    ours_random = _next_case(ours, NextCase("random", QueueRules()), repeats=repeats)
    _score(ours, cases=cases)
    ours_disputed = _next_case(ours, NextCase("disagreement", QueueRules(random_share=0)), repeats=repeats)
    ours.close()

    _write_stock_index(folder / "stock", cases=cases)
    extensions = ("*.nii.gz", "*.nii")
    stock_open = _timed(lambda _: LocalDatastore(str(folder / "stock"), extensions=extensions), repeats=1)
    stock = LocalDatastore(str(folder / "stock"), extensions=extensions, read_only=True)  # opens without its long look
    stock_save = _timed(
        lambda n: stock.save_label(_id(n), str(label), "final", dict(_LABEL_INFO)), repeats=stock_repeats
    )
    stock_score = _timed(lambda n: stock.update_image_info(_id(n), {"disagreement": float(n)}), repeats=stock_repeats)
    stock_next = _timed(lambda _: First()({"strategy": "first"}, stock), repeats=stock_repeats)
    by_score = Epistemic(k=AMONG, key="disagreement")
    stock_disputed = _timed(lambda _: by_score({"strategy": "epistemic"}, stock), repeats=stock_repeats)
    return [
        Row(operation="saving a label (512 x 512)", bar_s=0.020, ours=ours_save, stock=stock_save),
        Row(operation="storing a score", bar_s=0.010, ours=ours_score, stock=stock_score),
        Row(operation="handing out a random case", bar_s=0.050, ours=ours_random, stock=stock_next),
        Row(operation="handing out a case by disagreement", bar_s=0.050, ours=ours_disputed, stock=stock_disputed),
        Row(operation="opening", bar_s=3.0, ours=ours_open, stock=stock_open),
    ]


def _fill(folder: Path, *, cases: int) -> None:
    """Cases that share a few files: what is measured does not look into images that nobody labels."""
    folder.mkdir()
    hu = np.random.default_rng(0).integers(-1000, 400, _SHAPE).astype(np.int16)
    original = folder / f"{_id(0)}.nii.gz"
    nib.save(nib.Nifti1Image(hu, _AFFINE), original)
    for n in range(1, cases):
        case = folder / f"{_id(n)}.nii.gz"
        if n % _LINKS_PER_FILE == 0:
            shutil.copy(original, case)
            original = case
        else:
            os.link(original, case)


def _score(store: CaseStore, *, cases: int) -> None:
    """A score and features for every case, as a scoring of the whole folder would leave them."""
    rng = np.random.default_rng(0)
    facts = {"task": "l3_muscle", "model_version": "v0001"}
    new = {**facts, "method": "disagreement", "created": 0.0, "labelled": False, "trained": True}
    scores = [{**new, "case_id": _id(n), "value": value} for n, value in enumerate(rng.random(cases).tolist())]
    with store._index.writing() as connection:  # noqa: SLF001 - one transaction instead of a hundred thousand
        connection.execute(delete(SCORES))
        connection.execute(insert(SCORES), scores)
        for start in range(0, cases, 1000):
            vectors = rng.normal(size=(min(1000, cases - start), _FEATURES)).astype("<f2")
            rows = [{**facts, "case_id": _id(start + n), "vector": row.tobytes()} for n, row in enumerate(vectors)]
            connection.execute(insert(FEATURES), rows)


def _next_case(store: CaseStore, strategy: NextCase, *, repeats: int) -> Timing:
    """A person of their own asks each time, so that more and more cases are in somebody's hands."""
    return _timed(lambda n: strategy({"client_id": f"{strategy.name}-{n}"}, store), repeats=repeats)


def _write_stock_index(folder: Path, *, cases: int) -> None:
    """What MONAI Label's own store writes when it first opens the folder, which takes it minutes."""
    objects = {
        _id(n): {"image": {"ext": ".nii.gz", "info": {"ts": 0, "name": f"{_id(n)}.nii.gz"}}, "labels": {}}
        for n in range(cases)
    }
    index = {"name": "new-dataset", "description": "", "images_dir": ".", "labels_dir": "labels", "objects": objects}
    (folder / "datastore_v2.json").write_text(json.dumps(index, indent=2))


def _id(n: int) -> str:
    return f"case{n:06d}"


def _timed(operation: Callable[[int], object], *, repeats: int) -> Timing:
    seconds = []
    for n in range(repeats):
        started = time.perf_counter()
        operation(n)
        seconds.append(time.perf_counter() - started)
    return Timing(seconds=tuple(seconds))


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


if __name__ == "__main__":
    raise SystemExit(main())
