"""What a table says of patients is used where it is meant, and refused by line number where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.analysis.facts import FactsTable
from scripts.command import Stop

SOURCES = {Path("/in/a/ct.nii"): "a/ct.nii", Path("/in/b/ct.nii"): "b/ct.nii", Path("/in/dicom"): "dicom"}
IDS = {Path("/in/a/ct.nii"): "a_ct", Path("/in/b/ct.nii"): "b_ct", Path("/in/dicom"): "dicom"}


@pytest.fixture
def table(tmp_path):
    def _table(text: str) -> FactsTable:
        (tmp_path / "facts.csv").write_text(text, encoding="utf-8")
        return FactsTable(tmp_path / "facts.csv")

    return _table


def of(table, path):
    return table.of(IDS[Path(path)], Path(path), SOURCES[Path(path)])


@pytest.mark.parametrize("name", ["a_ct", "a/ct.nii", "/in/a/ct.nii"])
def test_a_row_names_a_case_by_its_id_or_its_path(table, name):
    facts = table(f"case,sex,height_m\n{name},F,1.6\n")
    assert facts.check(SOURCES, IDS) == ""
    assert of(facts, "/in/a/ct.nii") == {"sex": "F", "height_m": "1.6"}
    assert of(facts, "/in/b/ct.nii") == {}


def test_a_spreadsheet_with_commas_in_its_numbers(table):
    facts = table("\ufefffile;height_m;weight_kg;slice_index\r\ndicom;1,75;80;12\r\n;;;\r\n")
    assert of(facts, "/in/dicom") == {"height_m": "1.75", "weight_kg": "80", "slice_index": "12"}


def test_every_series_of_a_folder_has_the_facts_of_the_folder_unless_it_has_its_own(table):
    facts = table("case,sex\ndicom,F\ndicom~12345678,M\n")
    assert facts.check(SOURCES, IDS) == ""
    assert facts.of("dicom~87654321", Path("/in/dicom"), "dicom") == {"sex": "F"}
    assert facts.of("dicom~12345678", Path("/in/dicom"), "dicom") == {"sex": "M"}


def test_a_row_of_a_series_adds_to_that_of_its_folder_and_a_slice_is_that_of_one_series(table):
    facts = table("case,height_m,sex,slice_index\ndicom,1.75,F,12\ndicom~12345678,,M,30\n")
    assert facts.of("dicom~87654321", Path("/in/dicom"), "dicom") == {"height_m": "1.75", "sex": "F"}
    own = {"height_m": "1.75", "sex": "M", "slice_index": "30"}
    assert facts.of("dicom~12345678", Path("/in/dicom"), "dicom") == own
    assert facts.of("dicom", Path("/in/dicom"), "dicom")["slice_index"] == "12"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("case,height_m\na_ct,1.7\nb_ct,175\n", r"line 3: height_m '175'"),
        ("case,sex\na_ct,M\na_ct,F\n", r"line 3: a_ct is in line 2 already"),
        ("case,sex\n,M\n", r"line 2: the column case is empty"),
        ("case,sex\na_ct,woman\n", r"line 2: sex 'woman'"),
        ("case,slice_index\na_ct,middle\n", r"line 2: slice_index 'middle'"),
        ("name,sex\na,M\n", "no column case or file"),
        ("", "no column case or file"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(table, text, reason):
    with pytest.raises(Stop, match=reason):
        table(text)


def test_a_name_of_two_cases_is_refused(table):
    with pytest.raises(Stop, match="several cases in line 2"):
        table("case,sex\nct.nii,M\n").check(SOURCES, IDS)


def test_rows_that_name_no_case_are_told(table):
    assert "no case in line 2" in table("case,sex\nx,M\na_ct,F\n").check(SOURCES, IDS)
