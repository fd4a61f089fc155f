"""Every CT below a folder is found once, and has an id that stays."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from scripts.analysis.sources import JOURNAL, LABELS, find_sources, name_cases
from scripts.command import Stop


@pytest.fixture
def make(tmp_path):
    def _make(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        return tmp_path

    return _make


def found_in(folder, *inputs):
    return [path.relative_to(folder).as_posix() for path in find_sources(inputs or [folder])]


def test_images_are_found_in_all_folders_and_nothing_else(make):
    folder = make("a/ct.nii.gz", "a/b/CT.NRRD", "c.nii", "notes.txt", ".hidden.nii", ".git/x.nii", "facts.csv")
    assert found_in(folder) == ["a/b/CT.NRRD", "a/ct.nii.gz", "c.nii"]


def test_labels_and_earlier_results_are_no_images(make):
    folder = make(
        "ct.nii", "sarcopenia/labels/l3_muscle/ct/1.nii.gz", "sarcopenia/converted/ct.nii.gz",
        "labels/final/ct.nii", "truth/l3_muscle/ct.nii",
        f"out/{JOURNAL}", f"out/{LABELS}/ct.nii.gz", f"mine/{LABELS}/other.nii",
    )  # fmt: skip
    assert found_in(folder) == ["ct.nii", f"mine/{LABELS}/other.nii"]


def test_what_was_passed_over_is_said_and_a_cohort_of_the_name_of_a_server_is_none(make, capsys):
    folder = make(
        "data/sarcopenia/a.nii", "data/controls/b.nii", "truth/c.nii", "x/sarcopenia/index.sqlite",
        "x/sarcopenia/converted/d.nii.gz", f"out/{JOURNAL}", f"out/{LABELS}/b.nii.gz", ".hidden/e.nii",
    )  # fmt: skip
    assert found_in(folder) == ["data/controls/b.nii", "data/sarcopenia/a.nii"]
    (said,) = capsys.readouterr().err.splitlines()
    assert said.endswith(f"{folder / 'truth'}, {folder / 'x' / 'sarcopenia'}.")


def test_a_file_that_is_named_twice_is_one_source(make):
    folder = make("a/ct.nii")
    assert found_in(folder, folder, folder / "a", folder / "a" / "ct.nii") == ["a/ct.nii"]


def test_dicom_files_stand_for_their_folder(shared_data, tmp_path):
    series = tmp_path / "patient" / "series"
    shutil.copytree(shared_data / "ct_series_without_uids", series)
    assert found_in(tmp_path) == ["patient/series"]
    assert found_in(tmp_path, *sorted(series.iterdir())) == ["patient/series"]


def test_a_path_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(Stop, match=r"no file or folder .*nowhere"):
        find_sources([tmp_path / "nowhere"])


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_back_up_ends_the_search(make):
    folder = make("a/ct.nii")
    (folder / "a" / "up").symlink_to(folder)
    assert found_in(folder) == ["a/ct.nii"]


class TestIds:
    def test_they_tell_files_of_the_same_name_apart(self):
        found = {Path("/x/a/ct.nii"): "ct.nii", Path("/y/ct.nii"): "ct.nii", Path("/z/CT.nii.gz"): "CT.nii.gz"}
        ids = name_cases(found, {})
        assert ids[Path("/x/a/ct.nii")] == "ct"
        assert len({case_id.casefold() for case_id in ids.values()}) == 3

    def test_they_stay_when_others_come(self):
        first = {Path("/y/ct.nii"): "ct.nii"}
        known = {case_id: path for path, case_id in name_cases(first, {}).items()}
        more = name_cases({Path("/a/ct.nii"): "ct.nii", **first}, known)
        assert more[Path("/y/ct.nii")] == "ct"
        assert more[Path("/a/ct.nii")].startswith("ct-")

    @pytest.mark.parametrize(
        "name", ["=1+1.nii", "-x.nii", "a/b.nii", "con.nii", "x" * 300 + ".nii", ".nii", "a~b.nii"]
    )
    def test_they_are_file_names_on_any_system_and_no_formulas(self, name):
        (case_id,) = name_cases({Path("/x"): name}, {}).values()
        assert 0 < len(case_id.encode()) <= 120
        assert case_id[0] not in "=+-@."
        assert not set(case_id) & set('/\\~:*?"<>|')
        assert case_id.lower() != "con"

    def test_a_name_that_is_no_unicode_has_one_too(self):
        name = os.fsdecode(b"caf\xe9.nii")
        (case_id,) = name_cases({Path("/x") / name: name}, {}).values()
        assert case_id.encode()
