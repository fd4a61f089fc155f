"""Many annotators at once while a training runs: does anybody get an error, another's case, or a lost label?"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import requests
from monailabel.client import MONAILabelClient
from tqdm import tqdm

from lib.phantoms.cohort import TRUTH, Cohort, CohortPlan
from lib.stores import CaseStore
from scripts.benchmarks._server import serving

TASK = "l3_muscle"
_LABELLED_BEFORE = 10


class Annotators:
    """People who ask for a case, let it be segmented, and save its true label, again and again.

    Args:
        url: of the server.
        studies: a cohort of phantoms.
        pause_s: between one case and the next of the same person.
    """

    def __init__(self, url: str, studies: Path, pause_s: float) -> None:
        self._url, self._studies, self._pause_s = url, studies, pause_s
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self.handed_out: list[str] = []
        self.saved: list[str] = []
        self.errors: Counter[str] = Counter()
        self.info_s: list[float] = []
        self.last_label_s = 0.0

    def work(self, people: int, seconds: float) -> None:
        """Let so many people work for so long, while somebody else looks at ``/info/``."""
        self._start = time.perf_counter()
        threads = [threading.Thread(target=self._annotate, args=(f"person{n}",)) for n in range(people)]
        threads.append(threading.Thread(target=self._look))
        for thread in threads:
            thread.start()
        with tqdm(total=int(seconds), unit="s") as bar:
            for _ in range(int(seconds)):
                time.sleep(1)
                bar.set_postfix(labels=len(self.saved), errors=sum(self.errors.values()))
                bar.update()
        self._ended.set()
        for thread in threads:
            thread.join()

    def _annotate(self, person: str) -> None:
        client = MONAILabelClient(self._url, client_id=person)
        while not self._ended.wait(self._pause_s):
            try:
                chosen = client.next_sample("disagreement", {"task": TASK})
                if not chosen:
                    return
                case = chosen["id"]
                with self._lock:
                    self.handed_out.append(case)
                label, _ = client.infer(TASK, case, {})
                Path(label).unlink()
                truth = self._studies / TRUTH / TASK / f"{case}.nii.gz"
                client.save_label(case, str(truth), params={"model": TASK})
                with self._lock:
                    self.saved.append(case)
                    self.last_label_s = time.perf_counter() - self._start
            except Exception as error:  # noqa: BLE001 - counting them is what this is for
                with self._lock:
                    self.errors[f"{type(error).__name__}: {error}"[:200]] += 1

    def _look(self) -> None:
        while not self._ended.wait(0.25):
            start = time.perf_counter()
            try:
                requests.get(f"{self._url}/info/", timeout=60).raise_for_status()
            except requests.RequestException as error:
                self.errors[f"/info/: {error}"[:200]] += 1
            self.info_s.append(time.perf_counter() - start)


def main(argv: Sequence[str]) -> int:
    """Run the benchmark and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="benchmark.py annotators", description=__doc__)
    parser.add_argument("--people", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--minutes", type=float, default=10.0, help="default: %(default)s")
    parser.add_argument("--pause", type=float, default=6.0, help="seconds from case to case (default: %(default)s)")
    parser.add_argument("--cases", type=int, default=1000, help="phantoms to label (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder of the phantoms, to use them again")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        studies = options.out or Path(folder) / "studies"
        cohort = Cohort(studies, CohortPlan(region="l3", count=options.cases, seed=71, matrix=160))
        with tqdm(total=len(cohort.missing), unit="slice", desc="phantoms") as bar:
            cohort.write(workers=os.cpu_count() or 1, on_case=lambda _: bar.update())
        store = CaseStore(studies)
        if not store.current_labels(TASK):
            first = {"task": TASK, "complete": True}
            for case in store.list_images()[:_LABELLED_BEFORE]:
                store.save_label(case, str(studies / TRUTH / TASK / f"{case}.nii.gz"), "final", first)
        before = {each.image_id for each in store.current_labels(TASK)}
        with serving(studies, "--conf", "retrain_after", "10", "--conf", "train_preset", "quick") as (url, _):
            people = Annotators(url, studies, options.pause)
            people.work(options.people, 60 * options.minutes)
            trained = requests.get(f"{url}/info/", timeout=60).json()["retraining"]
        labelled = {each.image_id for each in store.current_labels(TASK)}
        store.close()
    _report(people, trained, lost=set(people.saved) - labelled, others=labelled - before - set(people.saved))
    return 0


def _report(people: Annotators, trained: dict, *, lost: set[str], others: set[str]) -> None:
    twice = [case for case, count in Counter(people.handed_out).items() if count > 1]
    waits = np.array(people.info_s) * 1000
    runs = trained["running"] or trained["tasks"][TASK]["last"]
    print("| what | measured | bar |\n| --- | --- | --- |")
    for row in (
        ("labels saved", len(people.saved), ""),
        ("last one after", f"{people.last_label_s / 60:.1f} min", ""),
        ("errors", sum(people.errors.values()), "0"),
        ("cases handed out twice", len(twice), "0"),
        ("labels lost", len(lost), "0"),
        ("labels that nobody saved", len(others), "0"),
        ("training meanwhile", "yes" if runs else "no", "yes"),
        ("`/info/`, median", f"{np.median(waits):.0f} ms", ""),
        (f"`/info/`, 99th percentile of {len(waits)}", f"{np.percentile(waits, 99):.0f} ms", "200 ms"),
    ):
        print(f"| {' | '.join(map(str, row))} |")
    for error, count in people.errors.most_common(5):
        print(f"\n{count} times: {error}")
