"""Handing out cases: to whom, for how long, what ends it, and what is kept of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.index import CASES, HAND_OUTS
from lib.stores.queue import Choice
from lib.stores.queue_rules import QueueRules

ROOT = Path(__file__).resolve().parents[2]
RULES = QueueRules()
ASK_UNTIL_NOTHING_IS_LEFT = """
import sys
import time
from lib.stores import CaseStore
from lib.stores.queue import Choice
from lib.stores.queue_rules import QueueRules
store = CaseStore(sys.argv[1])
def choose(cases):
    found = cases.first()
    return found and Choice(image_id=found, reason="x")
print("ready", flush=True)
sys.stdin.readline()
while handed := store.hand_out("l3_muscle", "user-xyz", QueueRules(), choose, strategy="first"):
    print(handed.image_id, flush=True)
    time.sleep(0.02)
"""


def first(cases):
    found = cases.first()
    return None if found is None else Choice(image_id=found, reason="The first.")


def by_chance(cases):
    found = cases.by_chance()
    return None if found is None else Choice(image_id=found, reason="Any.")


def ask(store, holder, task="l3_muscle", *, rules=RULES, choose=first):
    handed = store.hand_out(task, holder, rules, choose, strategy="first")
    return handed and handed.image_id


def hours_later(store, hours):
    """What was handed out was handed out so many hours earlier."""
    with store._index.writing() as connection:
        earlier = {name: HAND_OUTS.c[name] - hours * 3600 for name in ("handed_out", "lease_ends")}
        connection.execute(update(HAND_OUTS).values(**earlier))


def outcomes(store, image_id):
    return [(handed.holder, handed.outcome) for handed in store.hand_outs(image_id)]


class TestWhoGetsWhat:
    def test_labelled_faulty_and_vanished_cases_are_passed_over(self, store, studies, muscles, save, write_ct):
        save("ann", muscles)
        store.note_fault("ben", "It holds NaN.")
        assert ask(store, "eva") == "cat"
        assert ask(store, "ida", "l3_tissue") == "ann"
        (studies / "cat.nii.gz").unlink()
        assert ask(store, "eva") is None
        write_ct(studies / "ben.nii.gz", seed=77)
        assert ask(store, "eva") == "ben"

    def test_random_reaches_every_open_case_and_only_those(self, store, muscles, save):
        save("ben", muscles)
        with store._index.writing() as connection:  # else the lot may make one of them very rare
            for n, image_id in enumerate(("ann", "ben", "cat")):
                connection.execute(update(CASES).where(CASES.c.id == image_id).values(shuffle=0.2 + 0.3 * n))
        found = set()
        for _ in range(60):
            image_id = ask(store, "user-xyz", choose=by_chance)
            found.add(image_id)
            store.give_back("l3_muscle", image_id)
        assert found == {"ann", "cat"}

    def test_two_people_get_two_cases_and_the_next_gets_none(self, store):
        assert {ask(store, holder) for holder in ("eva", "ida", "user-xyz")} == {"ann", "ben", "cat"}
        assert ask(store, "leo") is None

    def test_a_case_is_kept_from_other_tasks_with_the_same_labels_only(self, store):
        assert ask(store, "eva", "sarcopenia") == "ann"
        assert ask(store, "ida", "l3_muscle") == "ben"
        assert ask(store, "leo", "thigh_muscles") == "ann"

    def test_a_named_person_who_asks_again_has_left_their_case_to_others(self, store):
        assert [ask(store, "eva"), ask(store, "eva")] == ["ann", "ben"]
        assert ask(store, "ida") == "ann"
        assert outcomes(store, "ann") == [("eva", "left"), ("ida", None)]

    def test_for_themselves_it_is_at_the_end_of_the_queue(self, store):
        assert [ask(store, "eva") for _ in range(5)] == ["ann", "ben", "cat", "ann", "ann"]
        hours_later(store, 5)
        assert ask(store, "eva") == "ann"

    @pytest.mark.parametrize("shared", ["", "user-xyz", "admin"])
    def test_a_shared_name_keeps_all_its_cases(self, store, shared):
        assert [ask(store, shared) for _ in range(4)] == ["ann", "ben", "cat", None]

    def test_an_unknown_task_is_refused(self, store):
        with pytest.raises(Refusal, match="l3_muscle") as refused:
            ask(store, "eva", "liver")
        assert refused.value.status_code == 404


class TestWhatEndsIt:
    def test_a_lease_ends_by_itself(self, store):
        rules = QueueRules(lease_hours=2)
        assert ask(store, "user-xyz", rules=rules) == "ann"
        assert ask(store, "user-xyz", rules=rules) == "ben"
        hours_later(store, 2.1)
        assert ask(store, "ida") == "ann"
        assert outcomes(store, "ann") == [("user-xyz", "expired"), ("ida", None)]
        assert {event.facts["image"] for event in store.events("hand_out_expired")} == {"ann", "ben"}

    def test_a_case_given_back_is_there_for_others_at_once(self, store):
        assert ask(store, "eva") == "ann"
        with pytest.raises(Refusal, match="not in the hands of ida") as refused:
            store.give_back("l3_muscle", "ann", "ida")
        assert refused.value.status_code == 404
        (handed,) = store.give_back("l3_muscle", "ann", "eva")
        assert handed.holder == "eva"
        assert ask(store, "eva") == "ben"
        assert ask(store, "ida") == "ann"
        assert store.events("hand_out_given_back")[0].facts["image"] == "ann"
        with pytest.raises(Refusal, match="not in anybody's hands"):
            store.give_back("l3_muscle", "cat")

    def test_it_ends_when_the_image_turns_out_to_be_unreadable(self, store):
        assert ask(store, "user-xyz") == "ann"
        store.note_fault("ann", "It holds NaN.")
        assert ask(store, "ida") == "ben"
        assert outcomes(store, "ann") == [("user-xyz", "unreadable")]

    def test_a_label_ends_it_and_its_cost_is_kept(self, store, muscles, save):
        ask(store, "eva")
        hours_later(store, 0.5)
        save("ann", muscles, client_id="eva")
        (handed,) = store.hand_outs("ann")
        assert (handed.outcome, round(handed.seconds, -2)) == ("labelled", 1800)
        facts = store.events("labelled")[0].facts
        assert (facts["image"], facts["holder"], facts["seconds"]) == ("ann", "eva", handed.seconds)
        save("ann", muscles, client_id="eva")
        assert len(store.events("labelled")) == 1

    def test_another_persons_label_ends_it_and_tells_nothing_of_its_cost(self, store, muscles, save):
        ask(store, "eva")
        save("ann", muscles, tag="original")
        assert outcomes(store, "ann") == [("eva", None)]
        save("ann", muscles, client_id="ida")
        (handed,) = store.hand_outs("ann")
        assert (handed.outcome, handed.seconds) == ("labelled", None)

    def test_a_label_that_came_after_the_lease_is_theirs_all_the_same(self, store, muscles, save):
        ask(store, "eva")
        hours_later(store, 6)
        ask(store, "ida", "l3_tissue")
        assert outcomes(store, "ann")[0] == ("eva", "expired")
        save("ann", muscles, client_id="eva")
        assert round(store.hand_outs("ann", "l3_muscle")[0].seconds / 3600) == 6

    def test_a_task_stored_as_several_ends_when_all_its_parts_are_there(self, store, muscles, save):
        ask(store, "eva", "sarcopenia")
        save("ann", muscles, client_id="eva")
        assert outcomes(store, "ann") == [("eva", None)]
        save("ann", (muscles > 0).astype("uint8"), ["skeletal_muscle"], client_id="eva")
        assert outcomes(store, "ann") == [("eva", "labelled")]


class TestWhatIsKept:
    def test_every_hand_out_with_its_reason(self, store):
        choice = Choice(image_id="ben", reason="Folds disagree by 0.31.", score=0.31, model_version="v0003")
        store.hand_out("l3_muscle", "eva", RULES, lambda cases: choice, strategy="disagreement")
        (handed,) = store.hand_outs("ben")
        assert (handed.holder, handed.purpose, handed.strategy) == ("eva", "label", "disagreement")
        assert (handed.reason, handed.score, handed.model_version) == ("Folds disagree by 0.31.", 0.31, "v0003")
        assert handed.lease_ends - handed.handed_out == timedelta(hours=4)
        facts = store.events("handed_out")[0].facts
        assert (facts["image"], facts["holder"], facts["reason"]) == ("ben", "eva", handed.reason)
        assert store.hand_outs("ann") == []
        with pytest.raises(Refusal, match="no image"):
            store.hand_outs("zoe")

    def test_the_state_of_the_queue_says_why_there_is_nothing(self, store, studies, muscles, save):
        state = store.queue_state("l3_muscle", RULES)
        assert (state.waiting, state.labelled, state.in_hands, state.nothing_because) == (3, 0, (), None)
        ask(store, "eva")
        save("ben", muscles)
        state = store.queue_state("l3_muscle", RULES)
        assert (state.waiting, state.labelled, [handed.holder for handed in state.in_hands]) == (1, 1, ["eva"])
        save("cat", muscles)
        ends = f"{store.hand_outs('ann')[0].lease_ends:%H:%M}"
        assert store.queue_state("l3_muscle", RULES).nothing_because == (
            f"Every case of l3_muscle is labelled or handed out to others; the next lease ends at {ends} UTC."
        )
        store.note_fault("ann", "It holds NaN.")
        assert store.queue_state("l3_muscle", RULES).nothing_because == (
            "Every case of l3_muscle is labelled, except 1 that cannot be read."
        )
        for path in studies.glob("*.nii.gz"):
            path.unlink()
        assert "no case" in store.queue_state("l3_muscle", RULES).nothing_because


class TestScoresInTheQueue:
    def test_the_best_come_in_order_without_those_in_hands_labelled_or_unreadable(self, store, muscles, save):
        for image_id, value in (("ann", 0.1), ("ben", 0.9), ("cat", 0.5)):
            store.save_score(image_id, task="l3_muscle", method="bald", value=value, model_version="v1")
        seen = []

        def look(cases):
            seen.append([case.image_id for case in cases.best("bald", 2)])
            return first(cases)

        ask(store, "eva", choose=look)
        save("ben", muscles)
        ask(store, "ida", choose=look)
        store.remove_label("ben", "final")
        store.note_fault("cat", "It holds NaN.")
        ask(store, "leo", choose=look)
        assert seen == [["ben", "cat"], ["cat"], ["ben"]]

    def test_the_cold_starts_scores_count_only_as_long_as_there_are_no_others(self, store):
        store.save_score("ann", task="l3_muscle", method="disagreement", value=0.9)
        assert self.best(store) == self.best(store, "sarcopenia") == [("ann", None)]
        store.save_score("ben", task="l3_muscle", method="disagreement", value=0.1, model_version="v1")
        assert self.best(store) == [("ben", "v1")]
        store.save_score("cat", task="sarcopenia", method="disagreement", value=0.9)
        assert self.best(store, "sarcopenia") == [("ben", "v1")]
        assert self.best(store, "l3_tissue") == []

    @staticmethod
    def best(store, task="l3_muscle"):
        found = []
        store.hand_out(
            task, "eva", RULES, lambda cases: found.extend(cases.best("disagreement", 5)), strategy="disagreement"
        )
        return [(case.image_id, case.model_version) for case in found]

    def test_the_last_handed_out_or_labelled(self, store, muscles, save):
        save("ben", muscles)
        time.sleep(0.01)
        ask(store, "eva")
        seen = []
        store.hand_out("l3_muscle", "ida", RULES, lambda cases: seen.extend(cases.recent(5)), strategy="x")
        assert seen == ["ann", "ben"]


class TestAtTheSameTime:
    CASES = 60

    @pytest.fixture
    def many(self, studies, write_ct):
        one = write_ct(studies / "case000.nii.gz")
        for n in range(1, self.CASES):
            os.link(one, studies / f"case{n:03d}.nii.gz")
        return CaseStore(studies)

    def test_no_case_is_handed_to_two_of_many_threads_and_processes(self, many, studies):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", ASK_UNTIL_NOTHING_IS_LEFT, str(studies)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        children = [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        got = [child.stdout.readline().strip() for child in children]

        def work(n):
            mine = []
            while found := ask(many, "user-xyz", choose=by_chance if n % 2 else first):
                mine.append(found)
            return mine

        with ThreadPoolExecutor(4) as pool:
            got += [image_id for each in pool.map(work, range(4)) for image_id in each]
        for child in children:
            got += child.communicate(timeout=60)[0].split()
            assert child.returncode == 0
        assert sorted(got) == [f"case{n:03d}" for n in range(self.CASES)]
