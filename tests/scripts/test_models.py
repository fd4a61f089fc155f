"""Which versions there are, why each answers or not, and choosing by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lib.anatomy.schemas import L3_MUSCLE
from lib.models import Manifest, Registry, TrainingLabel
from lib.models.verdict import Verdict
from lib.refusals import Refusal
from scripts.command import Stop
from scripts.models import main

KEPT = Verdict(
    promote=False,
    reason="Kept: on 24 cases of 24 patients, its mean Dice 0.8700 is more than 0.005 below the 0.9100 of v0001 and "
    "its worst Dice 0.5000 is more than 0.02 below the 0.8000 of v0001.",
)


@pytest.fixture
def models(tmp_path):
    """A champion with labels, one that was kept, and an imported one."""
    registry = Registry(tmp_path / "models")
    labels = tuple(
        TrainingLabel(case=f"c{n}", revision=1, sha256="0" * 64, patient=f"p{n}", fold=n % 5, phantom=n < 3)
        for n in range(24)
    )
    spread = {"mean": 0.87, "sd": 0.1, "minimum": 0.5}
    row = {"cases": 24, "dice": dict.fromkeys(L3_MUSCLE.names, spread), "mean_dice": spread}
    metrics = {"classes": list(L3_MUSCLE.names), "folds": [{"fold": 0, **row}], "pooled": row}
    trained = Manifest(
        task="l3_muscle", network="nnunet_2d", classes=L3_MUSCLE.ids, folds=5, labels=labels, metrics=metrics
    )
    for manifest in (
        trained,
        replace(trained, metrics={**metrics, "verdict": KEPT.to_json()}, parent="v0001"),
        replace(trained, labels=(), metrics={}, origin="imported from a.zip"),
    ):
        with registry.staging("l3_muscle") as folder:
            (folder / "fold_0").mkdir()
            (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"weights")
            registry.publish(folder, manifest)
    registry.set_champion("l3_muscle", "v0001", reason="Promoted: there was no champion before it.")
    return registry


@pytest.fixture
def say(models, capsys):
    def run(*arguments):
        assert main([*arguments, "--models", str(models.root)]) == 0
        return capsys.readouterr().out

    return run


def test_the_list_has_every_version_and_why_it_answers_or_not(say):
    lines = say("list").splitlines()
    assert max(map(len, lines)) <= 100
    rows = {line[2:7]: line for line in lines if line[2:4] == "v0"}
    assert [line[2:7] for line in lines if line.startswith("*")] == ["v0001"]
    assert rows["v0001"].split()[-6:] == ["24", "24", "3", "1", "0.8700", "0.5000"]
    assert " ".join(KEPT.reason.split()) in " ".join(" ".join(lines).split())
    assert rows["v0003"].split()[-6:] == ["-", "-", "-", "1", "-", "-"]
    assert "imported from a.zip" in " ".join(lines)


def test_without_models_it_says_so(tmp_path, capsys):
    main(["list", "--models", str(tmp_path)])
    assert "no models yet" in capsys.readouterr().out


def test_one_version_is_shown_with_its_cross_validation(say):
    text = say("show", "l3_muscle", "v0002")
    assert "24 of 24 patients" in text
    assert "| all | 24 | 0.870" in text
    assert "started from  v0001" in text


def test_promoting_and_going_back(say, models):
    assert say("promote", "l3_muscle", "v0002", "--reason", "sharper edges") == (
        "v0002 of l3_muscle answers from now on; v0001 did before.\n"
    )
    assert models.champion_name("l3_muscle") == "v0002"
    assert "Promoted by hand: sharper edges" in say("list")
    assert say("rollback", "l3_muscle") == "v0001 of l3_muscle answers from now on; v0002 did before.\n"
    assert models.champion_name("l3_muscle") == "v0001"
    assert "Gone back to by hand." in say("show", "l3_muscle", "v0001")


def test_a_damaged_version_is_listed_and_not_promoted(say, models):
    (models.version("l3_muscle", "v0002").folder / "fold_0" / "checkpoint_final.pth").unlink()
    assert "v0002    Version v0002 of l3_muscle cannot be used" in say("list")
    with pytest.raises(Stop, match="v0002 of l3_muscle cannot be used"):
        say("promote", "l3_muscle", "v0002")
    assert models.champion_name("l3_muscle") == "v0001"


@pytest.mark.parametrize("arguments", [("promote", "l3_muscle", "v0009"), ("show", "l3_muscle", "v0009")])
def test_what_is_not_there_is_said(say, arguments):
    with pytest.raises(Stop, match="no version v0009 of l3_muscle; there are: v0001, v0002, v0003"):
        say(*arguments)


def test_there_may_be_nothing_to_go_back_to(say):
    with pytest.raises(Stop, match="no champion before v0001"):
        say("rollback", "l3_muscle")


def test_old_versions_are_removed_but_not_those_that_answer_or_would(say, models):
    say("promote", "l3_muscle", "v0002")
    assert say("prune", "l3_muscle", "--keep", "1") == "There is nothing to remove of l3_muscle.\n"
    say("promote", "l3_muscle", "v0003")
    assert say("prune", "l3_muscle", "--keep", "1") == "Removed of l3_muscle: v0001.\n"
    assert models.versions("l3_muscle") == ["v0002", "v0003"]
    say("rollback", "l3_muscle")
    assert models.champion("l3_muscle").name == "v0002"
    with pytest.raises(Refusal, match="v0002 of l3_muscle answers"):
        models.remove("l3_muscle", "v0002")


def test_a_damaged_choice_is_said_and_made_again(say, models):
    (models.root / "l3_muscle" / "champion.json").write_text("{")
    assert "damaged: choose the champion again" in say("list")
    assert say("promote", "l3_muscle", "v0001") == "v0001 of l3_muscle answers from now on.\n"
