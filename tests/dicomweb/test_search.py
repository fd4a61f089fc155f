"""Searches find what the standard says they find."""

from __future__ import annotations

import pytest

from lib.dicomweb.search import Search, instance_attributes, studies
from lib.refusals import Refusal


def series(study, uid, modality="CT", count=3, **more):
    told = {
        "0020000D": {"vr": "UI", "Value": [study]},
        "0020000E": {"vr": "UI", "Value": [uid]},
        "00080060": {"vr": "CS", "Value": [modality]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Änne", "Ideographic": "山田^花子"}]},
        "00100020": {"vr": "LO", "Value": ["4711[a]"]},
        "00080020": {"vr": "DA", "Value": ["20240229"]},
        "00080030": {"vr": "TM", "Value": ["101112.5"]},
        "00201209": {"vr": "IS", "Value": [count]},
    }
    return told | more


SERIES = [series("1.1", "1.1.1"), series("1.1", "1.1.2", "SEG", 1), series("1.2", "1.2.1")]


def found(*query, of=SERIES):
    return [each["0020000E"]["Value"][0] for each in Search.parse(query).page(of)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PatientName", "müller^änne"),
        ("PatientName", "*ller*"),
        ("PatientName", "山田*"),
        ("00100020", "4711[a]"),
        ("PatientID", "47?1*"),
        ("StudyDate", "20240229"),
        ("StudyDate", "20240101-20241231"),
        ("StudyDate", "-20240229"),
        ("StudyDate", "20240229-"),
        ("StudyTime", "10-11"),
        ("StudyDate", ""),
        ("AccessionNumber", "*"),
    ],
)
def test_what_matches(name, value):
    assert len(found((name, value))) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PatientName", "ller"),
        ("PatientName", "Mül"),
        ("PatientID", "4711a"),
        ("PatientID", "4711?"),
        ("StudyDate", "20240301-"),
        ("StudyDate", "-20240228"),
        ("AccessionNumber", "1"),
    ],
)
def test_what_does_not(name, value):
    assert found((name, value)) == []


def test_fuzzy_names_match_by_the_beginnings_of_words_in_any_order():
    assert len(found(("PatientName", "änn mül"), ("fuzzymatching", "true"))) == 3
    assert found(("PatientName", "änn otto"), ("fuzzymatching", "true")) == []


def test_identifiers_may_be_a_list():
    assert found(("SeriesInstanceUID", "1.1.1,1.2.1")) == ["1.1.1", "1.2.1"]
    assert found(("0020000E", "1.1.1\\1.2.1")) == ["1.1.1", "1.2.1"]


def test_pages_follow_each_other():
    assert found(("limit", "2")) + found(("limit", "2"), ("offset", "2")) == found()
    assert found(("limit", "0")) == []


@pytest.mark.parametrize(
    "query", [("limit", "-1"), ("offset", "x"), ("NoSuchThing", "1"), ("includefield", "Nonsense")]
)
def test_nonsense_is_refused(query):
    with pytest.raises(Refusal) as caught:
        Search.parse([query])
    assert caught.value.status_code == 400


def test_a_study_tells_of_all_its_series():
    first, second = studies(SERIES)
    assert (first["00080061"]["Value"], first["00201206"]["Value"], first["00201208"]["Value"]) == (
        ["CT", "SEG"],
        [2],
        [4],
    )
    assert "0020000E" not in first
    assert second["0020000D"]["Value"] == ["1.2"]
    assert Search.parse([("ModalitiesInStudy", "SEG")]).page(studies(SERIES)) == [first]


def test_an_instance_tells_what_was_asked_for():
    header = SERIES[0] | {"00200013": {"vr": "IS", "Value": [1]}, "00180050": {"vr": "DS", "Value": [5]}}
    few = instance_attributes(header, Search.parse([("PatientID", "4711*")]))
    assert {"00200013", "00100020"} <= few.keys()
    assert "00180050" not in few
    assert "00180050" in instance_attributes(header, Search.parse([("includefield", "SliceThickness")]))
    assert instance_attributes(header, Search.parse([("includefield", "all")])) == header
