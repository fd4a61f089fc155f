"""Nothing that was acknowledged is ever lost: killed processes, several processes, a lost or damaged index."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.disk import sha256_of
from lib.images import PatientFacts
from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.files import remove_left_overs
from lib.stores.queue_rules import QueueRules
from lib.strategies.next_case import NextCase

ROOT = Path(__file__).resolve().parents[2]

SAVE_FOR_EVER = """
import sys
from lib.stores import CaseStore
store = CaseStore(sys.argv[1])
for n in range(1_000_000):
    name = f"{sys.argv[3]}-{n}"
    store.save_label(("ann", "ben", "cat")[n % 3], sys.argv[2], "final", {"task": "l3_muscle", "client_id": name})
    print(name, flush=True)
"""

SAVE_LABELS = """
import sys
from lib.stores import CaseStore
store = CaseStore(sys.argv[1])
for n in range(200):
    store.save_label(f"case{n:03d}", sys.argv[2], "final", {"task": "l3_muscle"})
"""

SAVE_SCORES = """
import sys
from lib.stores import CaseStore
store = CaseStore(sys.argv[1])
for n in range(200):
    store.save_score(f"case{n:03d}", task="l3_muscle", method="disagreement", value=n)
    store.update_image_info(f"case{n:03d}", {"score": n})
"""


def start(code: str, *arguments: object, **options) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=environment, text=True, **options)


def test_killed_at_any_moment_every_acknowledged_label_is_there_and_whole(store, studies, muscles, write_label):
    store.close()
    path = write_label(muscles)
    acknowledged = set()
    for turn in range(5):
        child = start(SAVE_FOR_EVER, studies, path, turn, stdout=subprocess.PIPE)
        acknowledged |= {child.stdout.readline().strip() for _ in range(3 + turn)}
        time.sleep(0.05 + 0.071 * turn)
        child.kill()
        acknowledged |= {
            line.strip() for line in child.communicate()[0].splitlines(keepends=True) if line.endswith("\n")
        }
    store = CaseStore(studies)
    revisions = [r for image_id in ("ann", "ben", "cat") for r in store.revisions(image_id)]
    assert len(acknowledged) > 20
    assert acknowledged <= {r.client_id for r in revisions}
    for revision in revisions:
        assert sha256_of(revision.path) == revision.sha256
        assert np.array_equal(np.asanyarray(nib.load(revision.path).dataobj), muscles)
    store.save_label("ann", str(path), "final", {"task": "l3_muscle", "client_id": "afterwards"})
    assert store.get_label_info("ann", "final")["client_id"] == "afterwards"


@pytest.mark.parametrize("step", ["the sidecar", "the label", "the row"])
def test_what_a_killed_save_leaves_is_no_label(store, muscles, save, monkeypatch, step):
    from lib.stores import history

    class Killed(BaseException):
        pass

    done = []
    place, insert = history.place, history.History.insert

    def dying_place(temporary, path):
        if (step, len(done)) in (("the sidecar", 0), ("the label", 1)):
            raise Killed
        done.append(path)
        place(temporary, path)

    def dying_insert(*args):
        raise Killed

    monkeypatch.setattr(history, "place", dying_place)
    if step == "the row":
        monkeypatch.setattr(history.History, "insert", dying_insert)
    with pytest.raises(Killed):
        save("ann", muscles, client_id="killed")
    monkeypatch.setattr(history, "place", place)
    monkeypatch.setattr(history.History, "insert", insert)
    assert store.revisions("ann") == []
    assert store.status()["completed"] == 0
    save("ann", muscles, client_id="again")
    assert [r.client_id for r in store.revisions("ann")] == ["again"]


def test_old_temporary_files_are_cleaned_and_young_ones_are_not(store, studies):
    scratch = studies / "sarcopenia" / "tmp"
    (scratch / "old").write_text("x")
    (scratch / "young").write_text("x")
    os.utime(scratch / "old", (1000, 1000))
    remove_left_overs(scratch)
    assert [p.name for p in scratch.iterdir()] == ["young"]


def test_two_processes_lose_nothing_of_each_other(studies, muscles, write_ct, write_label):
    first = write_ct(studies / "case000.nii.gz")
    for n in range(1, 200):
        shutil.copy(first, studies / f"case{n:03d}.nii.gz")
    store = CaseStore(studies)
    children = [start(code, studies, write_label(muscles)) for code in (SAVE_LABELS, SAVE_SCORES)]
    assert [child.wait(timeout=120) for child in children] == [0, 0]
    assert store.status()["tasks"]["l3_muscle"] == 200
    assert store.scores("l3_muscle", "disagreement") == {f"case{n:03d}": float(n) for n in range(200)}
    assert [store.get_image_info(f"case{n:03d}")["score"] for n in range(200)] == list(range(200))


class TestLostIndex:
    @staticmethod
    def facts(store):
        return [store.revisions(image_id) for image_id in ("ann", "ben")], store.status()

    @pytest.fixture
    def filled(self, store, muscles, save):
        save("ann", muscles, client_id="one")
        save("ann", np.where(muscles == 3, 0, muscles).astype(np.uint8), client_id="two")
        save("ann", muscles, tag="original")
        save("ben", (muscles == 1).astype(np.uint8), ["gracilis"])
        save("ben", muscles)
        store.update_label_info("ben", "final", {"quality": "good"})
        store.remove_label("ann", "final")
        store.close()
        return self.facts(CaseStore(store._studies))

    @pytest.mark.parametrize("damage", ["deleted", "emptied", "rubbish", "torn"])
    def test_it_is_made_anew_from_the_files(self, filled, studies, damage):
        index = studies / "sarcopenia" / "index.sqlite"
        content = index.read_bytes()
        for name in ("index.sqlite", "index.sqlite-wal", "index.sqlite-shm"):
            (index.parent / name).unlink(missing_ok=True)
        if damage == "emptied":
            index.write_bytes(b"")
        elif damage == "rubbish":
            index.write_bytes(b"rubbish " * 1000)
        elif damage == "torn":
            index.write_bytes(content[:8192] + b"\xff" * 8192 + content[16384:])
        store = CaseStore(studies)
        assert self.facts(store) == filled
        assert store.get_label_info("ben", "final")["quality"] == "good"
        assert store.events("index_rebuilt")[0].facts["revisions"] == 5
        if damage in ("rubbish", "torn"):
            assert len(list(index.parent.glob("index.sqlite.unusable-*"))) >= 1

    @pytest.mark.parametrize(
        "change",
        [
            "ALTER TABLE revisions RENAME COLUMN author TO who; UPDATE settings SET value = 'x' WHERE key = 'layout'",
            "DELETE FROM settings WHERE key = 'layout'",
        ],
    )
    def test_one_of_another_version_is_made_anew_and_kept_aside(self, filled, studies, change):
        index = studies / "sarcopenia" / "index.sqlite"
        with closing(sqlite3.connect(index)) as connection, connection:
            connection.executescript(change)
        sidecar = next((studies / "sarcopenia/labels/thigh_muscles/ben").glob("*.json"))
        facts = json.loads(sidecar.read_text(encoding="utf-8"))
        del facts["model_version"]
        sidecar.write_text(json.dumps(facts | {"added_later": 1}), encoding="utf-8")
        store = CaseStore(studies)
        assert self.facts(store) == filled
        assert len(list(index.parent.glob("index.sqlite.unusable-*"))) >= 1
        store.close()
        assert CaseStore(studies).events("index_rebuilt")[0].facts["revisions"] == 5

    def test_what_people_entered_of_a_patient_is_not_lost_with_it(self, studies, write_ct, tmp_path):
        write_ct(studies / "ann.nii.gz")
        store = CaseStore(studies)
        store.update_image_info("ann", {"sex": "F", "height_m": 1.6})
        store.update_image_info("ann", {"height_m": 1.62, "note": "x"})
        store.add_image("ben", str(write_ct(tmp_path / "b.nii.gz", seed=1)), {"weight_kg": 70})
        store.add_image("ben", str(tmp_path / "b.nii.gz"), {"age_years": 60})
        for image_id in ("ann", "ben"):
            store.update_image_info(image_id, {"strategy": {"random": {"ts": 1}}})
        store.close()
        for path in (studies / "sarcopenia").glob("index.sqlite*"):
            path.unlink()
        (studies / "sarcopenia" / "facts" / "cat.json").write_text("rubbish")
        store = CaseStore(studies)
        assert store.case_facts("ann") == PatientFacts(sex="F", height_m=1.62)
        assert store.case_facts("ben") == PatientFacts(weight_kg=70, age_years=60)

    def test_a_label_file_that_was_changed_by_hand_is_told_and_not_taken(self, filled, studies):
        (studies / "sarcopenia" / "index.sqlite").unlink()
        victim = next((studies / "sarcopenia/labels/thigh_muscles/ben").glob("*.nii.gz"))
        victim.write_bytes(victim.read_bytes()[:-10])
        store = CaseStore(studies)
        assert store.status()["tasks"]["thigh_muscles"] == 0
        assert len(store.events("index_rebuilt")[0].facts["refused"]) == 1
        assert victim.exists()


@pytest.mark.parametrize(
    "url", ["postgresql://nobody@127.0.0.1:1/none", "nonsense", "sqlite:////nowhere/at/all.sqlite"]
)
def test_an_index_that_cannot_be_reached_is_said_in_a_sentence(studies, url):
    with pytest.raises(Refusal, match="cannot be opened"):
        CaseStore(studies, index_url=url)


@pytest.mark.skipif(
    "SARCOPENIA_TEST_POSTGRESQL" not in os.environ, reason="SARCOPENIA_TEST_POSTGRESQL names no database"
)
def test_postgresql_holds_the_index_as_well(studies, muscles, write_ct, write_label):
    write_ct(studies / "ann.nii.gz")
    store = CaseStore(studies, index_url=os.environ["SARCOPENIA_TEST_POSTGRESQL"])
    store.save_label("ann", str(write_label(muscles)), "final", {"task": "l3_muscle"})
    store.save_score("ann", task="l3_muscle", method="x", value=1.0)
    assert store.queue_state("l3_muscle", QueueRules()).nothing_because == "Every case of l3_muscle is labelled."
    assert store.status()["tasks"]["l3_muscle"] == 1
    handed = NextCase("disagreement", QueueRules())({"task": "l3_tissue", "client_id": "eva"}, store)
    assert handed["id"] == "ann"
    store.end_run(store.begin_run("train", "l3_muscle"), "kept")
    assert store.last_run("train").outcome == "kept"
    assert not (studies / "sarcopenia" / "index.sqlite").exists()
