"""OHIF in a real Chromium on the running server: what an annotator sees without any other program."""

from __future__ import annotations

import gzip
import io

import nibabel as nib
import numpy as np
import pytest
import requests

from lib.images import CTImage, read_ct
from lib.images.files import write_ct
from lib.images.frames import frame_order
from scripts.benchmarks._browser import browsing, chromium, wait_for_first_image, wait_for_frames, watch_images
from tests.system.conftest import free_port, running, serve_command

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium is installed (Debian package chromium)")


@pytest.fixture(scope="module")
def server(tmp_path_factory, real_ct_path):
    """The server on the real CT as a NIfTI whose axes run otherwise than those of a DICOM series."""
    studies = tmp_path_factory.mktemp("served") / "studies"
    studies.mkdir()
    image = read_ct(real_ct_path)
    turned = nib.Nifti1Image(image.hu, image.affine).as_reoriented(np.array([[1, 1], [2, -1], [0, 1]]))
    write_ct(studies / "ann.nii.gz", CTImage(hu=np.asarray(turned.dataobj), affine=turned.affine))
    port = free_port()
    command = [*serve_command(studies, port), "--conf", "auto_score", "false"]
    work = tmp_path_factory.mktemp("work")
    with running(command, studies, port, work / "server.log", work) as started:
        yield started


@pytest.fixture(scope="module")
def page():
    with browsing() as opened:
        watch_images(opened)
        yield opened


def test_the_study_list_shows_the_case(server, page):
    page.goto(f"{server.url}/ohif/")
    page.get_by_text("ann", exact=True).first.wait_for()


def test_a_case_opens_and_the_stock_mode_segments_it(server, page):
    opened = requests.get(f"{server.url}/open/ann", allow_redirects=False, timeout=60).headers["location"]
    page.goto(server.url + opened.replace("/ohif/sarcopenia?", "/ohif/monai-label?"), wait_until="commit")
    image = read_ct(server.studies / "ann.nii.gz")
    order = frame_order(image.shape, image.affine)
    wait_for_first_image(page)
    wait_for_frames(page, order.shape[2])

    page.locator(".monaiLabelPanel button").first.click()  # it knows its server by the cookie, whatever the port
    tab = page.locator("div.tab").filter(has=page.locator("label", has_text="Auto-Segmentation"))
    page.get_by_text("Auto-Segmentation").first.click()
    tab.locator("select.selectBox").select_option("l3_muscle")
    tab.locator("button.actionButton").click()
    page.get_by_text("Running Segmentation - Successful").first.wait_for()
    seen = page.evaluate(
        "Array.from(window.services.segmentationService.getLabelmapVolume('1')"
        ".voxelManager.getCompleteScalarDataArray(), (value, index) => value ? index : -1).filter(index => index >= 0)"
    )

    answer = requests.post(f"{server.url}/infer/l3_muscle?image=ann&output=image", timeout=120)
    label = np.asarray(nib.Nifti1Image.from_stream(_gunzipped(answer.content)).dataobj)
    assert np.array_equal(seen, np.flatnonzero(order.to_frames(label).ravel(order="F")))


def test_answers_by_series_count_slices_by_frames(server):
    study_and_series = requests.get(f"{server.url}/datastore/image/info?image=ann", timeout=60).json()
    series = study_and_series["SeriesInstanceUID"]
    image = read_ct(server.studies / "ann.nii.gz")
    by_id, by_series = (
        requests.post(f"{server.url}/infer/l3_slice?image={name}&output=json", timeout=120).json()
        for name in ("ann", series)
    )
    assert by_series["slice_index"] == image.slice_from_canonical(by_id["slice_index"])
    assert requests.get(f"{server.url}/datastore/image/info?image={series}", timeout=60).json() == study_and_series


def _gunzipped(content: bytes) -> io.BytesIO:
    return io.BytesIO(gzip.decompress(content))
