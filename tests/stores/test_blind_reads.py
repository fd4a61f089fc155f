"""Labelled cases that are labelled again, blind to the first label: to whom, how often, and what becomes of it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from sqlalchemy import update

from lib.refusals import Refusal
from lib.stores import CaseStore
from lib.stores.index import HAND_OUTS, REVISIONS
from lib.stores.queue import Choice
from lib.stores.queue_rules import QueueRules
from lib.stores.records import lot_of

ALL_TWICE = QueueRules(double_read=1.0)
FORTNIGHT = QueueRules(reread=1)
NAMES = ["psoas", "paraspinal", "abdominal_wall"]


def first(cases):
    found = cases.first()
    return None if found is None else Choice(image_id=found, reason="The first.")


def ask(store, holder, rules, task="l3_muscle"):
    return store.hand_out(task, holder, rules, first, strategy="first")


def days_later(store, days):
    with store._index.writing() as connection:
        connection.execute(update(REVISIONS).values(created=REVISIONS.c.created - days * 86400))
        earlier = {name: HAND_OUTS.c[name] - days * 86400 for name in ("handed_out", "lease_ends")}
        connection.execute(update(HAND_OUTS).values(**earlier))


@pytest.fixture
def labelled(store, muscles, save):
    """All three cases labelled by Eva."""
    for image_id in ("ann", "ben", "cat"):
        save(image_id, muscles, client_id="eva")
    return store


class TestByAnotherPerson:
    def test_it_is_stored_beside_the_label_and_never_instead_of_it(self, labelled, muscles, save):
        store = labelled
        handed = ask(store, "ida", ALL_TWICE)
        assert (handed.purpose, handed.is_blind) == ("double_read", True)
        theirs = np.where(muscles == 3, 0, muscles).astype(np.uint8)
        save(handed.image_id, theirs, NAMES[:2], client_id="ida")
        second = store.revisions(handed.image_id)[-1]
        assert (second.tag, second.author) == ("double_read", "ida")
        assert second.info["second_reading_of"] == {"task": "l3_muscle", "revision": 1}
        assert store.get_label_info(handed.image_id, "final")["author"] == "eva"
        assert [revision.author for revision in store.current_labels("l3_muscle")] == ["eva"] * 3
        (pair,) = store.agreement("l3_muscle")
        assert (pair.kind, pair.first.author, pair.second.author) == ("double_read", "eva", "ida")
        assert (pair.first.number, pair.second.number) == (1, 2)
        assert store.hand_outs(handed.image_id)[0].seconds is not None
        assert store.labels_since("l3_muscle", pair.first.created) == 2

    def test_it_survives_a_lost_index(self, labelled, studies, muscles, save):
        image_id = ask(labelled, "ida", ALL_TWICE).image_id
        save(image_id, muscles, client_id="ida")
        before = labelled.agreement("l3_muscle")
        labelled.close()
        for path in (studies / "sarcopenia").glob("index.sqlite*"):
            path.unlink()
        store = CaseStore(studies)
        assert store.agreement("l3_muscle") == before
        assert image_id not in {ask(store, "leo", ALL_TWICE).image_id for _ in range(4)}

    def test_only_named_people_who_did_not_draw_it_read_the_label_of_a_named_person(self, store, muscles, save):
        save("ann", muscles, client_id="eva")
        save("ben", muscles, client_id="user-xyz")
        save("cat", muscles, client_id="leo")
        save("cat", muscles, client_id="eva")
        for shared in ("", "user-xyz", "admin"):
            assert ask(store, shared, ALL_TWICE) is None
        assert ask(store, "eva", ALL_TWICE) is None
        assert ask(store, "leo", ALL_TWICE).image_id == "ann"
        assert store.queue_state("l3_muscle", ALL_TWICE).blind_due == {"double_read": 2, "reread": 0}

    def test_a_second_save_of_the_reading_is_not_the_label_either(self, labelled, muscles, save):
        image_id = ask(labelled, "ida", ALL_TWICE).image_id
        for _ in range(2):
            save(image_id, muscles, client_id="ida")
        assert labelled.get_label_info(image_id, "final")["author"] == "eva"
        assert [pair.second.number for pair in labelled.agreement("l3_muscle")] == [3]
        days_later(labelled, 2)
        save(image_id, muscles, client_id="ida")
        assert labelled.get_label_info(image_id, "final")["author"] == "ida"

    def test_a_reading_that_waits_over_the_weekend_is_still_one(self, labelled, muscles, save):
        image_id = ask(labelled, "ida", ALL_TWICE).image_id
        days_later(labelled, 3)
        assert labelled.is_blind("l3_muscle", image_id, "ida")
        save(image_id, muscles, client_id="ida")
        assert labelled.get_label_info(image_id, "final")["author"] == "eva"
        (pair,) = labelled.agreement("l3_muscle")
        assert pair.second.author == "ida"
        assert labelled.hand_outs(image_id)[0].outcome == "labelled"

    def test_being_asked_for_another_task_meanwhile_does_not_end_it(self, labelled, muscles, save):
        image_id = ask(labelled, "ida", ALL_TWICE).image_id
        while ask(labelled, "ida", QueueRules(), "l3_slice").image_id != image_id:
            pass
        save(image_id, muscles, client_id="ida")
        assert labelled.get_label_info(image_id, "final")["author"] == "eva"

    def test_others_may_correct_the_label_meanwhile(self, labelled, muscles, save):
        image_id = ask(labelled, "ida", ALL_TWICE).image_id
        save(image_id, muscles, client_id="leo")
        assert labelled.get_label_info(image_id, "final")["author"] == "leo"
        assert labelled.hand_outs(image_id)[0].outcome is None

    def test_the_reader_is_blind_until_they_give_it_back(self, labelled, muscles, save):
        image_id = ask(labelled, "ida", ALL_TWICE).image_id
        assert labelled.is_blind("l3_muscle", image_id, "ida")
        assert labelled.is_blind("sarcopenia", image_id, "ida")
        assert not labelled.is_blind("l3_tissue", image_id, "ida")
        assert not labelled.is_blind("l3_muscle", image_id, "eva")
        labelled.give_back("l3_muscle", image_id, "ida")
        assert not labelled.is_blind("l3_muscle", image_id, "ida")
        save(image_id, muscles, client_id="ida")
        assert labelled.get_label_info(image_id, "final")["author"] == "ida"

    def test_no_client_can_make_one_up(self, labelled, muscles, save):
        for tag in ("double_read", "reread"):
            with pytest.raises(Refusal, match=tag):
                save("ann", muscles, tag=tag)

    def test_a_task_stored_as_several_is_read_in_all_its_parts(self, labelled, muscles, save):
        body = (muscles > 0).astype(np.uint8)
        save("ann", body, ["skeletal_muscle"], client_id="eva")
        handed = ask(labelled, "ida", ALL_TWICE, "sarcopenia")
        while handed.purpose == "label":
            labelled.note_fault(handed.image_id, "not now")
            handed = ask(labelled, "ida", ALL_TWICE, "sarcopenia")
        assert (handed.image_id, handed.first_labels) == ("ann", {"l3_muscle": 1, "l3_tissue": 1})
        save("ann", muscles, client_id="ida")
        assert labelled.hand_outs("ann")[-1].outcome is None
        save("ann", body, ["skeletal_muscle"], client_id="ida")
        assert labelled.hand_outs("ann")[-1].outcome == "labelled"
        assert {pair.second.task for pair in labelled.agreement("sarcopenia")} == {"l3_muscle", "l3_tissue"}


class TestByTheSamePerson:
    def test_after_the_washout_the_author_reads_a_fixed_subset_again(self, labelled, muscles, save):
        store = labelled
        assert ask(store, "eva", FORTNIGHT) is None
        days_later(store, 14.1)
        assert ask(store, "ida", FORTNIGHT) is None
        handed = ask(store, "eva", FORTNIGHT)
        assert handed.purpose == "reread"
        assert handed.image_id == min(("ann", "ben", "cat"), key=lot_of)
        save(handed.image_id, muscles, client_id="eva")
        (pair,) = store.agreement("l3_muscle")
        assert (pair.kind, pair.first.author, pair.second.author) == ("reread", "eva", "eva")
        assert store.current_labels("l3_muscle")[0].tag == "final"
        assert ask(store, "eva", FORTNIGHT) is None


def test_at_most_every_fifth_is_blind_as_long_as_there_are_new_cases(studies, write_ct, write_label, muscles):
    one = write_ct(studies / "case00.nii.gz")
    for n in range(1, 22):
        shutil.copy(one, studies / f"case{n:02d}.nii.gz")
    store = CaseStore(studies)
    info = {"task": "l3_muscle", "client_id": "eva"}
    for n in range(10):
        store.save_label(f"case{n:02d}", str(write_label(muscles)), "final", dict(info))
    given = []
    for _ in range(20):
        handed = ask(store, "ida", ALL_TWICE)
        given.append(handed.purpose)
        store.save_label(handed.image_id, str(write_label(muscles)), "final", {**info, "client_id": "ida"})
    assert given == [*(["label"] * 4 + ["double_read"]) * 3, *["double_read"] * 5][: len(given)]
    assert given.count("label") == 12
