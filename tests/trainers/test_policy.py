"""What whoever starts the server can choose about trainings."""

from __future__ import annotations

import pytest

from lib.refusals import Refusal
from lib.trainers.policy import TrainingPolicy


def test_without_a_choice_ten_labels_train_again():
    policy = TrainingPolicy.from_conf({"models": "elsewhere"})
    assert policy == TrainingPolicy()
    assert (policy.retrain_after, policy.automatic) == (10, True)
    assert (policy.tolerances.mean, policy.tolerances.worst) == (0.005, 0.02)


def test_all_of_it_can_be_chosen():
    policy = TrainingPolicy.from_conf(
        {"retrain_after": "5", "auto_train": "True", "promote_tolerance": "0", "promote_worst_tolerance": "0.1"}
    )
    assert TrainingPolicy.from_conf({"train_preset": "quick"}).preset == "quick"
    assert (policy.retrain_after, policy.tolerances.mean, policy.tolerances.worst) == (5, 0, 0.1)


@pytest.mark.parametrize("conf", [{"retrain_after": "0"}, {"auto_train": "false"}])
def test_it_can_be_switched_off(conf):
    assert not TrainingPolicy.from_conf(conf).automatic


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retrain_after", "-1"),
        ("retrain_after", "2.5"),
        ("retrain_after", ""),
        ("auto_train", "maybe"),
        ("train_preset", "huge"),
        ("promote_tolerance", "much"),
        ("promote_tolerance", "nan"),
        ("promote_worst_tolerance", "-0.1"),
        ("promote_worst_tolerance", "2"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name, value):
    with pytest.raises(Refusal, match=f"^{name} is .*, not '{value}'"):
        TrainingPolicy.from_conf({name: value})
