"""A CT and its label become a picture; what does not fit is one sentence."""

import nibabel as nib
import numpy as np
import pytest

from scripts.command import Stop
from scripts.overlay import main


@pytest.fixture
def files(tmp_path):
    """A CT and a label that fits it."""
    hu = np.full((30, 30, 6), -1000, np.int16)
    hu[5:25, 5:25] = 40
    for name, array in (("ct", hu), ("label", np.where(hu > 0, 3, 0).astype(np.uint8))):
        nib.save(nib.Nifti1Image(array, np.diag([4.0, 4.0, 5.0, 1.0])), tmp_path / f"{name}.nii.gz")
    return tmp_path


def test_a_picture_of_one_and_of_two_labels(files, capsys):
    ct, label, out = (str(files / name) for name in ("ct.nii.gz", "label.nii.gz", "out.png"))
    sizes = []
    for labels in ([label], [label, f"The same={label}"]):
        assert main([ct, *labels, "--out", out, "--slices", "3"]) == 0
        sizes.append((files / "out.png").stat().st_size)
    assert sizes[1] > sizes[0]
    assert "out.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones((30, 30, 5), np.uint8), r"label\.nii\.gz has the shape \(30, 30, 5\) and the CT \(30, 30, 6\)"),
        (np.full((30, 30, 6), 9, np.uint8), "holds the value 9, which is no class of body_composition"),
    ],
)
def test_a_label_of_something_else_is_refused(files, array, words):
    nib.save(nib.Nifti1Image(array, np.eye(4)), files / "label.nii.gz")
    with pytest.raises(Stop, match=words):
        main([str(files / "ct.nii.gz"), str(files / "label.nii.gz"), "--out", str(files / "out.png")])
    with pytest.raises(Stop, match="no file gone"):
        main([str(files / "gone.nii.gz"), "--out", str(files / "out.png")])
