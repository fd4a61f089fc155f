"""Facts of a patient from what forms, tables and DICOM hold."""

import pytest

from lib.images.facts import parse_facts


@pytest.mark.parametrize(("given", "contrast"), [("yes", True), ("No", False), (True, True), (0, False), ("", None)])
def test_contrast_is_understood_as_people_write_it(given, contrast):
    facts, wrong = parse_facts({"contrast": given})
    assert (facts.contrast, wrong) == (contrast, {})


def test_what_is_neither_yes_nor_no_is_said():
    facts, wrong = parse_facts({"contrast": "arterial", "height_m": 1.7})
    assert (facts.contrast, facts.height_m) == (None, 1.7)
    assert wrong == {"contrast": "contrast 'arterial' is not possible; yes or no is."}
