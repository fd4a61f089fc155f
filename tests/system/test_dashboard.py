"""The dashboard and a report in a real Chromium on the running server."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import requests
from playwright.sync_api import Page, expect

from scripts.benchmarks._browser import LIMIT_MS, browsing, chromium
from tests.system.conftest import free_port, running, serve_command

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium is installed (Debian package chromium)")

AFFINE = np.diag([-4.0, -4.0, 5.0, 1.0])
CASE = "a 'b' & c"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The server on a case whose id has to be escaped, with a label of it."""
    studies = tmp_path_factory.mktemp("served") / "studies"
    studies.mkdir()
    rng = np.random.default_rng(0)
    for name in (CASE, "plain"):
        nib.save(
            nib.Nifti1Image(rng.integers(-100, 400, (24, 20, 30)).astype(np.int16), AFFINE), studies / f"{name}.nii.gz"
        )
    label = np.zeros((24, 20, 30), np.uint8)
    label[4:12, 4:12, 10] = 1
    path = tmp_path_factory.mktemp("label") / "label.nii.gz"
    nib.save(nib.Nifti1Image(label, AFFINE), path)
    port = free_port()
    command = [*serve_command(studies, port), "--conf", "auto_score", "false"]
    work = tmp_path_factory.mktemp("work")
    with running(command, studies, port, work / "server.log", work) as started:
        with path.open("rb") as file:
            saved = requests.put(
                f"{started.url}/datastore/label",
                params={"image": CASE},
                data={"params": '{"task": "l3_muscle", "client_id": "<b>eva"}'},
                files={"label": (path.name, file)},
                timeout=60,
            )
        assert saved.status_code == 200, saved.text
        yield started


def expect_pictures(page: Page, count: int) -> None:
    """Each is seen, though late; asked without `eval` in the page, which its Content-Security-Policy forbids."""
    pictures = page.locator("img")
    expect(pictures).to_have_count(count)
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        expect(picture).to_have_js_property("complete", value=True, timeout=LIMIT_MS)
        assert picture.evaluate("picture => picture.naturalWidth") > 0


def test_dashboard_and_report_are_seen_and_lead_on(server):
    with browsing() as page:
        wrong = []
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.goto(f"{server.url}/dashboard/?task=l3_tissue")
        assert page.locator("#queue tr").count() == 2
        expect_pictures(page, 2)
        link = page.locator("#queue tr").filter(has_text=CASE).get_by_text("Open in OHIF")
        assert requests.get(link.evaluate("link => link.href"), allow_redirects=False, timeout=60).status_code == 307
        page.get_by_role("link", name="l3_muscle", exact=True).click()
        assert page.locator("#persons").get_by_text("<b>eva", exact=True).count() == 1
        assert page.locator("svg rect").count() == 1

        page.goto(f"{server.url}/reports/{requests.utils.quote(CASE)}")
        expect_pictures(page, 3)
        assert page.get_by_text("saved by <b>eva").count() == 1
        assert not wrong
