"""The page of the phantoms is the one that its script writes, with a picture of everything."""

import re

from lib.phantoms.person import CONDITIONS
from lib.phantoms.phantom import REGIONS
from scripts import make_phantom_pages as script


def test_the_page_in_the_project_is_up_to_date():
    assert (script.DOCS / "phantoms.md").read_text(encoding="utf-8") == script.page()


def test_every_picture_that_the_page_shows_is_there():
    shown = re.findall(r"\]\((images/phantoms/\S+)\)", script.page())
    assert sorted(shown) == sorted(f"images/phantoms/{name}.png" for name in script.SHEETS)
    assert all((script.DOCS / picture).is_file() for picture in shown)


def test_every_condition_and_region_is_described():
    page = script.page()
    assert all(f"`{name}`" in page for name in (*CONDITIONS, *REGIONS))
    assert {name for pair in script._PAIRS.values() for name in pair} == set(CONDITIONS)
