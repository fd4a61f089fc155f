"""The options of the queue, as they come from the command line."""

from __future__ import annotations

import pytest

from lib.refusals import Refusal
from lib.stores.queue_rules import QueueRules, is_named


def test_strings_become_rules_and_other_parts_options_are_passed_over():
    conf = {"lease_hours": "1.5", "reread": "20", "double_read": "0.1", "random_share": "", "models": "x"}
    assert QueueRules.from_conf(conf) == QueueRules(lease_hours=1.5, reread=20, double_read=0.1)
    assert QueueRules.from_conf({}) == QueueRules()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("lease_hours", value) for value in ("0", "-1", "four", "nan", "inf", "1e9")),
        *(("double_read", value) for value in ("1.1", "-0.1", "10%")),
        *(("reread", value) for value in ("2.5", "-1", "x")),
        ("random_share", "2"),
        ("washout_days", "two weeks"),
        ("unlike_last", "0.5"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_in_one_sentence(name, value):
    with pytest.raises(Refusal, match=f"The option {name} is '{value}'; it has to be a"):
        QueueRules.from_conf({name: value})


@pytest.mark.parametrize("shared", ["", "user-xyz", "admin"])
def test_names_that_several_people_share_name_nobody(shared):
    assert not is_named(shared)
    assert is_named(f"{shared}2")
