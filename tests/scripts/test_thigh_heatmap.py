"""From saved labels and a table of the patients to the heat map; a wrong table is one sentence."""

from __future__ import annotations

import csv

import nibabel as nib
import numpy as np
import pytest

from lib.anatomy.schemas import THIGH_MUSCLES
from lib.stores import CaseStore
from scripts.command import Stop
from scripts.thigh_heatmap import main, read_patients

HEADER = "case,sex,height_m,sarcopenia\n"


@pytest.fixture
def studies(tmp_path):
    """Six cases, one without a label: two legs with a gracilis each, of another size in every case.

    Of eve only one leg is in the image, and of fay a sartorius is drawn on one side, and reaches the image's end.
    """
    folder = tmp_path / "studies"
    folder.mkdir()
    affine = np.diag([4.0, 4.0, 5.0, 1.0])
    for name in ("ann", "bea", "cia", "dora", "eve", "fay"):
        hu = np.full((100, 50, 8), -1000, np.int16)
        hu[8:45, 5:45], hu[55:92, 5:45] = -100, -1000 if name == "eve" else -100
        nib.save(nib.Nifti1Image(hu, affine), folder / f"{name}.nii.gz")
    store = CaseStore(folder)
    for size, name in enumerate(("ann", "bea", "cia", "eve", "fay"), start=3):
        label = np.zeros((100, 50, 8), np.uint8)
        label[24:29, 20:25], label[71:76, 20:25] = 1, 1
        label[38 : 38 + size, 20:30], label[61 - size : 61, 20:30] = 2, 2
        if name == "eve":
            label[50:] = 0
        if name == "fay":
            label[24:29, 30:35] = 3
        nib.save(nib.Nifti1Image(label, affine), tmp_path / "label.nii.gz")
        info = {
            "label_info": [{"name": "femur", "idx": 1}, {"name": "gracilis", "idx": 2}, {"name": "sartorius", "idx": 3}]
        }
        store.save_label(name, str(tmp_path / "label.nii.gz"), "final", info)
    store.close()
    return folder


def test_volumes_by_height_squared_and_the_picture(studies, tmp_path, capsys):
    table = tmp_path / "facts.csv"
    table.write_text(HEADER + "ann,F,1.6,yes\nbea,F,1.6,yes\ncia,F,1.5,no\ndora,F,1.7,no\neve,F,1.7,no\nfay,M,1.7,no\n")
    assert main(["--studies", str(studies), "--facts", str(table), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err.splitlines()
    assert any("No label" in line and "dora" in line for line in said)
    assert any("Both legs are not in view" in line and "eve" in line for line in said)
    assert any("Cut off" in line and "gracilis (5), sartorius (1)" in line for line in said)
    with (tmp_path / "out" / "volumes.csv").open() as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    voxels = {"ann": 3, "bea": 4, "cia": 5}
    for name, height in (("ann", 1.6), ("cia", 1.5)):
        mm3 = 2 * voxels[name] * 10 * 8 * 80
        assert float(rows[name]["gracilis"]) == pytest.approx(mm3 / height**2, abs=1)
    assert rows.keys() == {"ann", "bea", "cia", "fay"}
    assert rows["fay"]["gracilis"]
    assert rows["fay"]["sartorius"] == ""  # drawn on one side only
    assert rows["ann"]["medial"] == ""  # of which other muscles were not drawn
    found = (tmp_path / "out" / "heatmap.csv").read_text()
    assert "gracilis,F,3,-0." in found
    assert (tmp_path / "out" / "heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "heatmap.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("case,sex\nann,F\n", "no column height_m, sarcopenia"),
        (HEADER + "ann,F,160,yes\n", "height_m '160' is not possible"),
        (HEADER + "ann,F,1.6,maybe\n", "sarcopenia 'maybe'"),
        (HEADER + "ann,,1.6,yes\n", "sex is empty"),
        (HEADER + "ann,F,1.6,yes\nann,F,1.6,no\n", "twice"),
    ],
)
def test_a_wrong_table_is_one_sentence(tmp_path, text, words):
    table = tmp_path / "facts.csv"
    table.write_text(text)
    with pytest.raises(Stop, match=words):
        read_patients(table)


def test_no_labels_is_one_sentence(studies, tmp_path):
    table = tmp_path / "facts.csv"
    table.write_text(HEADER + "dora,F,1.7,no\n")
    with pytest.raises(Stop, match=f"has a label of {THIGH_MUSCLES.task}"):
        main(["--studies", str(studies), "--facts", str(table), "--out", str(tmp_path / "out")])
