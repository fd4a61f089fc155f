"""Whoever was given a fold keeps it, whatever happens."""

import json
import subprocess
import sys

import pytest

from lib.models import FoldBook
from lib.refusals import Refusal
from scripts.environment import ROOT

PATIENTS = [f"patient {n}" for n in range(23)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "folds.json"


def test_folds_are_even_and_do_not_depend_on_the_order(path, tmp_path):
    folds = FoldBook(path).assign(PATIENTS)
    sizes = [list(folds.values()).count(fold) for fold in range(5)]
    assert sorted(sizes) == [4, 4, 5, 5, 5]
    assert FoldBook(tmp_path / "other.json").assign([*PATIENTS[::-1], PATIENTS[0]]) == folds


def test_a_patient_keeps_the_fold_when_others_come_and_go(path):
    first = FoldBook(path).assign(PATIENTS[:7])
    FoldBook(path).assign(PATIENTS[5:])
    assert FoldBook(path).assign(PATIENTS[:7]) == first


def test_how_many_folds_there_are_is_known_from_the_first_patient_on(path):
    assert FoldBook(path).count is None
    FoldBook(path).assign(PATIENTS, 3)
    assert FoldBook(path).count == 3


def test_new_patients_go_where_few_of_those_trained_on_are(path):
    """Patients of another task, of whom none is trained on here, do not leave a fold empty."""
    others = FoldBook(path).assign(PATIENTS)
    crowd = [patient for patient, fold in others.items() if fold == 2]
    folds = FoldBook(path).assign([*crowd, "a", "b", "c", "d"])
    assert sorted({folds[name] for name in "abcd"}) == [0, 1, 3, 4]


def test_a_lost_file_is_made_again_from_what_the_champion_says(path):
    folds = FoldBook(path).assign(PATIENTS)
    path.unlink()
    assert FoldBook(path).assign(["new", PATIENTS[0]], known=folds)[PATIENTS[0]] == folds[PATIENTS[0]]
    assert FoldBook(path).assign(PATIENTS) == folds


def test_a_file_that_contradicts_the_champion_is_refused(path):
    folds = FoldBook(path).assign(PATIENTS)
    before = path.read_bytes()
    with pytest.raises(Refusal, match=r"patient 0 is in fold \d in folds\.json"):
        FoldBook(path).assign(["new"], known={PATIENTS[0]: (folds[PATIENTS[0]] + 1) % 5})
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["", "{}", '{"folds": 5, "patients": {"a": 5}}', '{"folds": 5, "patients": {"a": 1'])
def test_a_damaged_file_is_refused_and_not_decided_anew(path, text):
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(Refusal, match=r"folds\.json, is damaged: restore it"):
        FoldBook(path).assign(["a"])
    assert path.read_text() == text


def test_another_number_of_folds_is_refused(path):
    FoldBook(path).assign(PATIENTS)
    with pytest.raises(Refusal, match="in 5 folds for ever"):
        FoldBook(path).assign(PATIENTS, 3)


def test_a_nameless_patient_is_an_error(path):
    with pytest.raises(ValueError, match="without a name"):
        FoldBook(path).assign(["a", ""])


def test_several_processes_agree(path):
    script = (
        "import sys, json; from lib.models.folds import FoldBook\n"
        "book, me = FoldBook(sys.argv[1]), int(sys.argv[2])\n"
        "print(json.dumps([book.assign([str(m) for m in range(n, n + 9)]) for n in range(me, 60 + me, 3)]))"
    )
    command = [sys.executable, "-c", script, str(path)]
    processes = [
        subprocess.Popen([*command, str(me)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for me in range(4)
    ]
    answers = [process.communicate(timeout=60) for process in processes]
    kept = json.loads(path.read_text())["patients"]
    for said, complained in answers:
        assert complained == ""
        for folds in json.loads(said):
            assert folds.items() <= kept.items()
