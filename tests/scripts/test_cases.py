"""The queue from a shell, on a real studies folder."""

from __future__ import annotations

import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from lib.stores import CaseStore
from lib.stores.queue_rules import QueueRules
from lib.strategies.next_case import NextCase
from scripts import cases
from scripts.command import Stop
from scripts.environment import ROOT


@pytest.fixture
def label():
    drawn = np.zeros((8, 8, 1), np.uint8)
    drawn[1:5, 1:5] = 1
    drawn[5:7, 5:7] = 2
    return drawn


@pytest.fixture
def store(tmp_path):
    studies = tmp_path / "studies"
    studies.mkdir()
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 1), np.int16), np.eye(4)), studies / "ann.nii.gz")
    shutil.copy(studies / "ann.nii.gz", studies / "ben.nii.gz")
    return CaseStore(studies)


@pytest.fixture
def run(store, tmp_path, capsys):
    def _run(*arguments):
        assert cases.main([*arguments, "--studies", str(tmp_path / "studies")]) == 0
        return capsys.readouterr().out

    return _run


def ask(store, holder, **rules):
    return NextCase("first", QueueRules(**rules))({"client_id": holder}, store)["id"]


def save(store, image_id, label, author, tmp_path):
    nib.save(nib.Nifti1Image(label, np.eye(4)), tmp_path / "label.nii.gz")
    store.save_label(image_id, str(tmp_path / "label.nii.gz"), "final", {"task": "l3_muscle", "client_id": author})


def test_who_has_which_case_and_why(store, run, label, tmp_path):
    ask(store, "eva")
    assert run("list").startswith("l3_muscle: 1 waiting, 1 handed out, 0 labelled.\nann: eva until 20")
    assert "by first: The first by name" in run("why", "ann")
    assert run("why", "ben") == "ben was never handed out.\n"
    assert run("return", "ann") == "ann of l3_muscle is back in the queue; eva had it.\n"
    assert "to eva: given back" in run("why", "ann")
    ask(store, "user-xyz")
    save(store, "ann", label, "user-xyz", tmp_path)
    assert "to user-xyz: labelled after 0 min" in run("why", "ann", "--task", "l3_muscle")
    assert run("list", "l3_tissue").startswith("l3_tissue: 2 waiting")


def test_agreement_of_two_readers(store, run, label, tmp_path):
    assert "read a second time yet" in run("agreement")
    for image_id in ("ann", "ben"):
        save(store, image_id, label, "eva", tmp_path)
    again = label.copy()
    again[4] = 0
    save(store, ask(store, "ida", double_read=1.0), again, "ida", tmp_path)
    expected = (2 * 12 / (16 + 12) + 1) / 2
    assert f"| {expected:.3f} |" in run("agreement", "l3_muscle")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["why", "zoe"], "no image zoe"), (["return", "ann"], "not in anybody's hands"), (["why", "../x"], "a path")],
)
def test_what_is_not_there_is_said_in_a_sentence(run, arguments, reason):
    with pytest.raises(Stop, match=reason):
        run(*arguments)


def test_it_runs_as_a_command(store, tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "cases.py"), "list", "--studies", str(tmp_path / "nowhere")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("There is no studies folder")
