"""A manifest says what a model was made from, and is not believed when it is damaged."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lib.models import Manifest
from lib.refusals import Refusal


def test_it_is_read_as_it_was_written(manifest):
    written = replace(manifest, metrics={"dice": {"psoas": 0.9}}, seeds=(1, 2), packages={"torch": "2.13"}, parent="v1")
    assert Manifest.from_json(written.to_json()) == written


def test_a_dice_that_is_not_a_number_stays_valid_json(manifest):
    metrics = {"fold": {0: {"dice": np.float32("nan"), "n": np.int64(3)}}, "all": np.array([0.5, np.inf])}
    text = replace(manifest, metrics=metrics).to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert Manifest.from_json(text).metrics == {"fold": {"0": {"dice": None, "n": 3}}, "all": [0.5, None]}


def test_it_says_how_many_of_its_labels_are_phantoms(manifest):
    labels = manifest.labels
    assert manifest.phantoms == "some"
    assert replace(manifest, labels=labels[:1]).phantoms == "all"
    assert replace(manifest, labels=labels[1:]).phantoms == "none"
    assert replace(manifest, labels=(), origin="imported from model.zip").phantoms == "unknown"


def test_a_patient_in_two_folds_is_no_manifest(manifest):
    twice = replace(manifest.labels[0], fold=4)
    with pytest.raises(ValueError, match="two folds"):
        replace(manifest, labels=(*manifest.labels, twice))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m.update(folds="5"), "folds"),
        (lambda m: m.pop("created"), "created is missing"),
        (lambda m: m.pop("task"), "task"),
        (lambda m: m.update(more=1), "more"),
        (lambda m: m["labels"][3].pop("fold"), r"labels\.3\.fold"),
        (lambda m: m["labels"][3].update(patient="p0"), "two folds"),
        (lambda m: m["classes"].update(psoas=2), "not different numbers"),
        (lambda m: m.update(phantoms="none"), "phantoms"),
        (lambda m: m.update(format=2), "a later one"),
    ],
)
def test_a_damaged_one_is_refused_with_the_place(manifest, change, reason):
    content = json.loads(manifest.to_json())
    change(content)
    with pytest.raises(Refusal, match=reason) as refusal:
        Manifest.from_json(json.dumps(content), name="Its manifest.json")
    assert str(refusal.value).startswith("Its manifest.json is ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", [b"", b"\xff\xfe\x00", b"[]", b'{"task": "l3_mus'])
def test_what_is_no_manifest_at_all_is_refused(text):
    with pytest.raises(Refusal, match=r"damaged|does not know"):
        Manifest.from_json(text)
