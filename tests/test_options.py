"""The options of the app."""

from __future__ import annotations

import pytest

from lib.options import NAMES, AppOptions
from lib.refusals import Refusal


def test_without_any_all_have_their_defaults():
    options = AppOptions.from_conf({})
    assert options.auto_score
    assert options.training.retrain_after == 10
    assert options.queue.lease_hours == 4


def test_each_is_read():
    values = {"auto_score": "False", "retrain_after": "3", "lease_hours": "0.5", "models": "m", "server_mode": "true"}
    options = AppOptions.from_conf(values)
    assert not options.auto_score
    assert (options.training.retrain_after, options.queue.lease_hours, options.models) == (3, 0.5, "m")


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in {"models", "index_url", "workspace", "pacs_user"}]
)
def test_a_value_that_makes_no_sense_is_refused_by_its_name(name):
    with pytest.raises(Refusal, match=name):
        AppOptions.from_conf({name: "often"})


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(Refusal, match=r"no option retrain_afer; there are models, .*retrain_after"):
        AppOptions.from_conf({"retrain_afer": "3"})
