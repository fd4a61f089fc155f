"""The champion is judged anew on the cases of a training, by the folds that never saw their patients."""

from __future__ import annotations

import shutil

import pytest

from lib.anatomy.schemas import L3_MUSCLE
from lib.models import Registry
from lib.models.verdict import Tolerances
from lib.networks.nnunet.workspace import NETWORK
from lib.trainers.gate import judge
from lib.trainers.learners import LEARNERS
from lib.trainers.samples import labelled_slices, training_set

TASK = "l3_muscle"


@pytest.fixture(scope="module")
def models(trained, tmp_path_factory):
    """A copy of the registry, so that the other tests keep their champion."""
    folder = tmp_path_factory.mktemp("gate") / "models"
    shutil.copytree(trained[1].root, folder)
    return Registry(folder)


@pytest.fixture
def gate(trained, models):
    """Judges a training whose every Dice is this much above the champion's."""
    slices = training_set(trained[0], L3_MUSCLE, labelled_slices, folds=5, known={}).samples
    cases = models.version(TASK, "v0001").manifest.metrics["cases"]

    def run(by=0.0):
        metrics = {"cases": [{**each, "dice": {k: v + by for k, v in each["dice"].items()}} for each in cases]}
        return judge(models, TASK, LEARNERS[NETWORK], metrics, slices, tolerances=Tolerances(), engine="openvino")

    return run


def test_one_that_is_as_good_answers_and_one_that_is_worse_does_not(gate):
    same = gate()
    assert same.promote
    assert same.numbers["cases"] == same.numbers["patients"] == 6
    assert same.numbers["champion"] == pytest.approx(same.numbers["new"], abs=0.004)
    worse = gate(-0.1)
    assert not worse.promote
    assert worse.reason.startswith("Kept: on 6 cases of 6 patients, its mean Dice ")


@pytest.mark.parametrize("damage", ["a checkpoint", "the manifest", "the choice"])
def test_a_champion_that_cannot_be_opened_stands_in_nobodys_way(gate, models, damage):
    folder = models.root / TASK
    paths = {
        "a checkpoint": folder / "v0001" / "fold_2" / "checkpoint_final.pth",
        "the manifest": folder / "v0001" / "manifest.json",
        "the choice": folder / "champion.json",
    }
    path = paths[damage]
    whole = path.read_bytes()
    path.write_bytes(bytes(len(whole)))
    try:
        verdict = gate(-0.1)
    finally:
        path.write_bytes(whole)
    assert verdict.promote
    assert verdict.reason.startswith("Promoted, since the champion before it could not be judged: ")
    assert path.parent.name in verdict.reason or "champion.json" in verdict.reason
