"""Odd CTs and odd facts, asked as a client asks the cold start and networks: a defined result or a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from lib.anatomy.schemas import BODY_COMPOSITION
from lib.cold_start.answers import Answer
from lib.images import PatientFacts
from lib.infers.champions import Champions
from lib.infers.segmentation import CASE_FACTS, SegmentationTask
from lib.models import Manifest, Registry
from lib.phantoms.phantom import Phantom
from lib.phantoms.scanner import Scanner
from lib.refusals import Refusal
from lib.tasks import TASKS
from lib.volumes.workspace import WEIGHTS, write_description
from tests.volumes.drawn_volumes import TINY
from tests.volumes.full_gpu import FullGpu

ID = BODY_COMPOSITION.ids
NAME = "body_composition"
FINE = replace(TINY, in_plane_mm=0.0, patch=(8, 48, 48), features=(4, 4, 4, 4))
STRAIGHT = np.eye(3)
OBLIQUE = np.array([[0.96, 0.17, 0.10], [-0.20, 0.94, 0.26], [-0.05, -0.28, 0.96]])


def axes(*spacing, turn=STRAIGHT):
    """An affine with the middle of nothing in particular as its origin."""
    affine = np.eye(4)
    affine[:3, :3] = turn / np.linalg.norm(turn, axis=0) * spacing
    return affine


CTS = {
    "a single slice": ((80, 70, 1), axes(2, 2, 5)),
    "fewer slices than a stack": ((80, 70, 3), axes(2, 2, 5)),
    "16 slices": ((80, 70, 16), axes(2, 2, 5)),
    "a plane smaller than a patch": ((24, 22, 12), axes(5, 5, 5)),
    "thick slices": ((160, 140, 5), axes(1, 1, 12)),
    "pixels of unequal sides": ((60, 140, 9), axes(2.6, 1, 6)),
    "oblique": ((90, 80, 16), axes(2, 2, 4, turn=OBLIQUE)),
    "feet along the second axis, flipped": ((80, 16, 70), axes(-2, -2, 5)[:, [0, 2, 1, 3]]),
}


def limb(shape, affine):
    """HU of a thigh along the middle of an image: a hollow shaft of bone, muscle, fat."""
    middle = (affine @ [*(np.array(shape) - 1) / 2, 1])[:3]
    x, y, _ = np.tensordot(affine[:3, :3], np.indices(shape), 1) + (affine[:3, 3] - middle)[:, None, None, None]
    radius = np.hypot(x, y)
    hu = np.select([radius < mm for mm in (6, 12, 32, 42)], [-60, 900, 55, -100], -1000)
    noise = np.random.default_rng(0).normal(0, 6, shape)
    return np.round(np.where(hu > -1000, hu + noise, hu)).astype(np.int16)


@pytest.fixture
def network(tmp_path):
    """The task with three networks that know nothing."""
    registry = Registry(tmp_path / "models")
    with registry.staging(NAME) as folder:
        write_description(folder, FINE, ID)
        for fold in range(3):
            torch.manual_seed(fold)
            (folder / f"fold_{fold}").mkdir()
            torch.save(FINE.build(1 + len(ID)).state_dict(), folder / f"fold_{fold}" / WEIGHTS)
        version = registry.publish(folder, Manifest(task=NAME, network="volume", classes=ID, folds=3))
    registry.set_champion(NAME, version.name)
    return SegmentationTask(TASKS[NAME], Champions(registry))


@pytest.fixture
def cold_start():
    return SegmentationTask(TASKS[NAME])


def ask(task, tmp_path, hu, affine, **request):
    """Label and params of an answer that has the CT's own geometry and can be sent."""
    path = tmp_path / "ct.nii.gz"
    nib.save(nib.Nifti1Image(hu, affine), path)
    file, params = task({"image": str(path), **request})
    label = nib.load(file)
    array = np.asarray(label.dataobj)
    Path(file).unlink()
    assert array.shape == hu.shape
    assert np.allclose(label.affine, affine)
    assert set(np.unique(array)) <= {0, *ID.values()}
    json.dumps(params, allow_nan=False)
    assert all(sentence.endswith((".", ").")) for sentence in params["warnings"])
    return array, params


@pytest.mark.parametrize("kind", CTS)
@pytest.mark.parametrize("method", ["cold_start", "network"])
def test_a_ct_of_any_shape_is_answered_in_its_own_geometry(method, kind, request, tmp_path):
    shape, affine = CTS[kind]
    hu = limb(shape, affine)
    label, params = ask(request.getfixturevalue(method), tmp_path, hu, affine)
    if method == "network":
        assert params["method"] == "ensemble"
        return  # what it has not learnt it does not know
    assert (label[hu > -400] > 0).mean() > 0.85
    assert not label[hu < -900].any()
    assert (label[(hu > 30) & (hu < 80)] == ID["muscle"]).mean() > 0.6
    measured = params["measurements"]
    assert (measured["waist"], measured["torso"]) == (None, None)
    for name in ("waist", "torso", "abdominal_visceral_fat"):
        assert measured["not_measured"][name] in params["warnings"]


def grown_bytes(run):
    """By how much a call raises the memory that this process takes, at its peak."""
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    try:
        reset.write_text("5")
    except OSError:
        pytest.skip("this system does not tell the peak of a process's memory")

    def told(name):
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith(name))

    before = told("VmRSS")
    run()
    return told("VmHWM") - before


@pytest.mark.parametrize("method", ["cold_start", "network"])
def test_two_thousand_slices_take_little_more_memory_than_the_ct_itself(method, request, tmp_path):
    """Eight logits of three folds would take 96 bytes for each voxel."""
    task, affine = request.getfixturevalue(method), axes(2, 2, 1)
    ask(task, tmp_path, limb((48, 48, 16), affine), affine)  # what is loaded once
    hu = limb((48, 48, 2000), affine)
    found = {}
    grown = grown_bytes(lambda: found.update(answer=ask(task, tmp_path, hu, affine)))
    label, _ = found["answer"]
    assert label.any(axis=(0, 1)).all()
    assert grown < 30 * hu.size


@pytest.mark.parametrize(("most", "words"), [(4, "smaller ones were taken"), (0, "the CPU answered")])
def test_a_full_gpu_is_a_warning_for_the_client(network, tmp_path, most, words):
    affine = axes(2, 2, 5)
    hu = limb((48, 48, 16), affine)
    ask(network, tmp_path, hu, affine)
    ensemble = network._champions.of(NAME).ensemble
    ensemble.engine = FullGpu(ensemble.engine, most)
    _, params = ask(network, tmp_path, hu, affine)
    assert [words in sentence for sentence in params["warnings"]].count(True) == 1


def test_what_shows_no_body_is_one_sentence(cold_start, network, tmp_path):
    air = np.random.default_rng(0).integers(-1010, -990, (40, 40, 8)).astype(np.int16)
    for task in (cold_start, network):
        with pytest.raises(Refusal, match=r"^There is no body in this image"):
            ask(task, tmp_path, air, axes(2, 2, 5))


@pytest.fixture(scope="module")
def person():
    """A CT of somebody with the arms beside the trunk, from mid-thigh to the neck, and what it shows."""
    scanner = Scanner(orientation="RAS")
    phantom = Phantom(11, "torso", conditions={"arms_beside": 1.0}, scanner=scanner, shape=(96, 96, 100))
    return phantom.image.hu, phantom.image.affine, phantom.label(NAME)


def exact(label):
    """The task, answering with the truth: what is asked here is what follows from it."""
    answer = Answer(label=label, method="thresholds", doubt=0.0)
    return SegmentationTask(replace(TASKS[NAME], network=None, cold_start=lambda _: answer))


def test_legs_have_neither_waist_nor_visceral_fat(cold_start, person, tmp_path):
    hu, affine, _ = person
    _, params = ask(cold_start, tmp_path, hu[:, :, :6], affine, overlay="yes")
    measured = params["measurements"]
    assert (measured["waist"], measured["torso"]) == (None, None)
    assert measured["regions"]["muscle"]["volume_cm3"] > 300
    for name in ("waist", "torso", "abdominal_visceral_fat"):
        assert measured["not_measured"][name] in params["warnings"]
    assert params["overlay"].startswith("data:image/png")


def test_an_arm_out_of_view_is_said_and_the_waist_is_measured_all_the_same(person, tmp_path):
    hu, affine, label = person
    facts = {CASE_FACTS: PatientFacts(sex="F", height_m=1.6, weight_kg=60, contrast=False)}
    _, whole = ask(exact(label), tmp_path, hu, affine, **facts)
    first = np.flatnonzero(label.any(axis=(1, 2)))[0] + 4
    _, cut = ask(exact(label[first:]), tmp_path, np.ascontiguousarray(hu[first:]), affine, **facts)
    said = [any("beyond the sides of the image (an arm" in each for each in one["warnings"]) for one in (whole, cut)]
    assert said == [False, True]
    areas = [each["measurements"]["waist"]["area_cm2"] for each in (whole, cut)]
    assert areas[1] == pytest.approx(areas[0], rel=0.03)
    assert {call["cutoff"] for call in cut["measurements"]["calls"]} == {"lee_2021_smi", "lee_2021_bfi"}


NO_SMI = {"waist_smi_cm2_m2", "torso_smi_cm3_m2", "bmi_kg_m2"}
NO_BFI = {"waist_bfi_cm2_kg", "torso_bfi_cm3_kg", "bmi_kg_m2"}


@pytest.mark.parametrize(
    ("facts", "unknown", "words"),
    [
        ({}, NO_SMI | NO_BFI, ("The height is not known", "The weight is not known")),
        ({"height_m": "17", "weight_kg": "60"}, NO_SMI, ("height_m '17' is not possible",)),
        ({"height_m": "tall", "weight_kg": "60"}, NO_SMI, ("height_m 'tall' is not possible",)),
        ({"height_m": "1.6", "weight_kg": "-4"}, NO_BFI, ("weight_kg '-4' is not possible", "The weight is not known")),
    ],
)
def test_facts_that_are_missing_or_absurd_are_said_and_not_guessed(person, tmp_path, facts, unknown, words):
    hu, affine, label = person
    _, params = ask(exact(label), tmp_path, hu, affine, **facts)
    indices = params["measurements"]["indices"]
    assert {name for name, value in indices.items() if value is None} == unknown
    for each in words:
        assert [each in sentence for sentence in params["warnings"]].count(True) == 1
    assert params["measurements"]["calls"] == [], "the sex is not known"
