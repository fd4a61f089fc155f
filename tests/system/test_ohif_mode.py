"""The Sarcopenia mode of OHIF in a real Chromium: the whole loop of an annotator, with the mouse, on the real CT."""

from __future__ import annotations

import io
import shutil
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import requests
from nibabel import orientations
from PIL import Image

from lib.anatomy.schemas import L3_MUSCLE
from lib.images import CTImage, read_ct
from lib.images.files import write_ct
from lib.images.frames import frame_order
from lib.phantoms.dicom import write_dicom_series
from lib.phantoms.scanner import Scanner
from scripts.benchmarks._browser import browsing, chromium
from tests.stores.orthanc import PASSWORD, USER, running_orthanc
from tests.system.conftest import free_port, running, serve_command

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium is installed (Debian package chromium)")

# What lies in cornerstone's cache, read without the panel's own code: every drawn pixel as [image, pixel, segment].
_DRAWN = """() => {
  const {imageIds} = window.services.segmentationService.getSegmentations()[0].representationData.Labelmap;
  return imageIds.flatMap((id, image) => Array.from(
    window.cornerstone.cache.getImage(id).voxelManager.getScalarData(), (value, pixel) => [image, pixel, value]
  ).filter(([, , value]) => value));
}"""
# Where on the page a point of the patient (LPS, mm) is seen.
_SEEN_AT = """point => {
  const viewport = window.cornerstone.getRenderingEngines()[0].getViewports()[0];
  const {x, y} = viewport.element.getBoundingClientRect();
  const [dx, dy] = viewport.worldToCanvas(point);
  return [x + dx, y + dy];
}"""

# The same with the SOPInstanceUID of the image in place of its number.
_DRAWN_ON = """() => {
  const {cache, metaData} = window.cornerstone;
  const [{representationData: {Labelmap}}] = window.services.segmentationService.getSegmentations();
  return Labelmap.imageIds.flatMap((id, image) => Array.from(
    cache.getImage(id).voxelManager.getScalarData(),
    (value, pixel) => [metaData.get('instance', Labelmap.referencedImageIds[image]).SOPInstanceUID, pixel, value]
  ).filter(([, , value]) => value));
}"""
# The voxel of every pixel of an image, or nothing.
_PLACE = """async ([grid, plane]) => {
  const {Grid, eachPixel} = await import('/ohif/sarcopenia/grid.js');
  const place = new Grid(grid).place(plane);
  const found = [];
  if (place) eachPixel(place, (pixel, voxel) => { found[pixel] = voxel; });
  return place && found;
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory, real_ct_path):
    """The server on the real CT, once with axes that run otherwise than those of a DICOM series, once as it is."""
    studies = tmp_path_factory.mktemp("served") / "studies"
    studies.mkdir()
    image = read_ct(real_ct_path)
    turned = nib.Nifti1Image(image.hu, image.affine).as_reoriented(np.array([[1, 1], [2, -1], [0, 1]]))
    write_ct(studies / "ann.nii.gz", CTImage(hu=np.asarray(turned.dataobj), affine=turned.affine))
    shutil.copy(real_ct_path, studies / "ben.nii.gz")
    port = free_port()
    command = [*serve_command(studies, port), "--conf", "auto_score", "false", "--conf", "keep_pairs", "true"]
    work = tmp_path_factory.mktemp("work")
    with running(command, studies, port, work / "server.log", work) as started:
        yield started


@pytest.fixture(scope="module")
def page():
    with browsing() as opened:
        opened.asked = []
        opened.answer = True
        opened.on("dialog", lambda dialog: _answer(opened, dialog))
        yield opened


def _answer(page, dialog) -> None:
    page.asked.append(dialog.type)
    if page.answer:
        dialog.accept()
    else:
        dialog.dismiss()


def wait_for_case(page, name: str) -> None:
    page.wait_for_function(
        "name => document.querySelector('.sarcopenia[data-ready=true] strong')?.textContent === name", arg=name
    )


def wait_for_rest(page) -> None:
    page.wait_for_function("!document.querySelector('.sarcopenia.busy')")


def drag(page, start: tuple[float, float], dx: float) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] + dx, start[1], steps=4)
    page.mouse.up()


def test_a_case_opens_from_the_study_list_in_the_window_of_soft_tissue_at_l3(server, page):
    page.goto(f"{server.url}/ohif/")
    page.get_by_text("ann", exact=True).first.click()
    page.get_by_role("button", name="Sarcopenia").first.click()
    wait_for_case(page, "ann")
    assert "/ohif/sarcopenia" in page.url
    page.get_by_text("400", exact=True).wait_for()
    page.get_by_text("50", exact=True).wait_for()
    series = requests.get(f"{server.url}/datastore/image/info?image=ann", timeout=60).json()["SeriesInstanceUID"]
    l3 = requests.post(f"{server.url}/infer/l3_slice?image={series}&output=json", timeout=120).json()["slice_index"]
    page.get_by_text(f"({l3 + 1}/112)").first.wait_for()


def test_a_run_shows_the_answer_on_the_slice_of_l3_with_its_numbers(server, page):
    page.fill("input[name=who]", "Dr Ann")
    page.press("input[name=who]", "Tab")
    page.click("button[name=run]")
    page.locator(".sarcopenia .answer table").wait_for()
    wait_for_rest(page)
    image = read_ct(server.studies / "ann.nii.gz")
    answer = requests.post(f"{server.url}/infer/l3_muscle?image=ann&output=json", timeout=120).json()
    shown = page.inner_text(".sarcopenia .answer")
    assert f"{answer['measurements']['regions']['psoas']['area_cm2']:.1f}" in shown
    assert "cut off at the edge" in shown  # a warning

    drawn = np.array(page.evaluate(_DRAWN))
    order = frame_order(image.shape, image.affine)
    columns = order.shape[0]
    (frame,) = set(drawn[:, 0])
    page.get_by_text(f"({frame + 1}/{order.shape[2]})").first.wait_for()  # the slice of L3 is in view
    paraspinal = drawn[drawn[:, 2] == 2][:, 1]
    middle = int(np.median(paraspinal // columns))
    in_row = np.sort(paraspinal[paraspinal // columns == middle] % columns)
    point = order.affine @ [in_row[len(in_row) // 4], middle, frame, 1]
    x, y = page.evaluate(_SEEN_AT, [-point[0], -point[1], point[2]])
    red, _, blue = picture_of(page).getpixel((round(x), round(y)))
    assert blue > red + 40  # the schema's colour over grey


def picture_of(page) -> Image.Image:
    page.wait_for_timeout(300)  # for the next frame to be drawn
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def test_brush_and_eraser_change_the_label_and_leaving_asks(server, page):
    before = {tuple(each) for each in page.evaluate(_DRAWN)}
    canvas = page.locator("canvas.cornerstone-canvas").first.bounding_box()
    place = (canvas["x"] + canvas["width"] * 0.5, canvas["y"] + canvas["height"] * 0.3)
    page.click("[data-cy=Brush]")
    drag(page, place, 20)
    page.locator(".sarcopenia[data-edited=true]").wait_for()
    painted = {tuple(each) for each in page.evaluate(_DRAWN)}
    assert painted > before
    assert {value for _, _, value in painted - before} == {1}
    page.click("[data-cy=Eraser]")
    drag(page, (place[0] - 20, place[1]), 10)
    page.wait_for_function(f"({_DRAWN})().length < {len(painted)}")
    assert painted > {tuple(each) for each in page.evaluate(_DRAWN)} > before

    page.answer = False
    page.asked.clear()
    page.click("[data-cy=return-to-work-list]")
    page.click("button[name=next]")
    wait_for_rest(page)
    page.click("button[name=run]")
    wait_for_rest(page)
    with page.expect_event("dialog"):
        page.evaluate("setTimeout(() => history.back())")
    assert page.asked == ["confirm"] * 4
    page.wait_for_url("**/ohif/sarcopenia?**")
    page.answer = True
    assert page.locator(".sarcopenia[data-edited=true]").is_visible()


def test_what_is_submitted_is_in_the_store_voxel_for_voxel(server, page):
    drawn = page.evaluate(_DRAWN)
    page.click("button[name=submit]")
    page.locator(".sarcopenia .revision").wait_for()
    wait_for_rest(page)
    assert page.locator(".sarcopenia[data-edited=false]").is_visible()
    assert page.locator(".sarcopenia .saved table").is_visible()  # it is measured as it was submitted
    image = read_ct(server.studies / "ann.nii.gz")
    order = frame_order(image.shape, image.affine)
    expected = np.zeros(order.shape, np.uint8)
    for frame, pixel, value in drawn:
        expected[pixel % order.shape[0], pixel // order.shape[0], frame] = value
    (file,) = (server.studies / "sarcopenia" / "labels" / "l3_muscle" / "ann").glob("*.nii.gz")
    assert np.array_equal(order.to_frames(np.asarray(nib.load(file).dataobj)), expected)
    told = requests.get(f"{server.url}/datastore/label/info?label=ann&tag=l3_muscle", timeout=60).json()
    assert (told["author"], told["model"]) == ("Dr Ann", "l3_muscle")
    assert (server.studies / "sarcopenia" / "pairs" / "l3_muscle" / "ann-label.nii.gz").exists()

    seg = wait_for(lambda: [each for each in _objects(server.studies) if each.Modality == "SEG"], 60)
    assert _marked(seg[0]) == {tuple(each) for each in page.evaluate(_DRAWN_ON)}


def _objects(studies: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in (studies / "sarcopenia" / "dicom").rglob("*.dcm")]


def _marked(seg: pydicom.Dataset) -> set[tuple[str, int, int]]:
    """Every marked pixel of a segmentation: the image it refers to, the pixel, the segment."""
    frames = np.asarray(seg.pixel_array).reshape(-1, seg.Rows * seg.Columns)
    found = set()
    for pixels, told in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        (source,) = told.DerivationImageSequence[0].SourceImageSequence
        number = int(told.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        value = L3_MUSCLE.ids[seg.SegmentSequence[number - 1].SegmentLabel]
        found |= {(str(source.ReferencedSOPInstanceUID), int(pixel), value) for pixel in np.flatnonzero(pixels)}
    return found


def wait_for(what, seconds: float):
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.2)
    return value


def test_the_next_case_comes_up_with_the_reason(server, page):
    page.click("button[name=next]")
    wait_for_case(page, "ben")
    (handed,) = requests.get(f"{server.url}/queue/l3_muscle/ben", timeout=60).json()["hand_outs"]
    assert handed["holder"] == "Dr Ann"
    assert page.inner_text(".sarcopenia .reason") == handed["reason"]
    assert page.input_value("input[name=who]") == "Dr Ann"


def test_a_slice_is_chosen_by_hand(page):
    page.fill("input[name=image]", "60")
    page.click("button[name=run]")
    page.locator(".sarcopenia .answer table").wait_for()
    wait_for_rest(page)
    assert {frame for frame, _, _ in page.evaluate(_DRAWN)} == {59}


def test_a_series_is_added_in_the_browser_and_can_be_opened(server, page, tmp_path, real_ct_path):
    folder = tmp_path / "series"
    folder.mkdir()
    write_dicom_series(
        folder,
        _in_frames(real_ct_path, slice(0, 5)),
        patient_id="cleo",
        description="",
        scanner=Scanner(),
        identity="mode",
    )
    (folder / "notes.txt").write_text("no image")
    page.set_input_files("input[name=folder]", folder)
    page.get_by_text("5 of 6 files were taken in.").wait_for()
    assert page.locator(".sarcopenia .error").inner_text()  # the reason for the sixth
    page.click("button:has-text('Open it')")
    page.wait_for_url(lambda url: "ben" not in url)
    page.wait_for_function(
        "document.querySelector('.sarcopenia[data-ready=true] strong') && "
        "document.querySelector('.sarcopenia strong').textContent !== 'ben'"
    )
    page.click("button[name=run]")
    wait_for_rest(page)
    assert page.inner_text(".sarcopenia .status")  # five slices of the pelvis show no L3, and the panel says so


def test_the_same_on_a_pacs_and_the_segmentation_is_in_its_archive(page, tmp_path, real_ct_path):
    for name, part in (("dora", slice(None)), ("emil", slice(0, 6))):
        (tmp_path / name).mkdir()
        image = _in_frames(real_ct_path, part)
        write_dicom_series(
            tmp_path / name, image, patient_id=name, description="", scanner=Scanner(), identity=f"mode {name}"
        )
    dora, emil = (pydicom.dcmread(next((tmp_path / name).iterdir())).SeriesInstanceUID for name in ("dora", "emil"))
    (tmp_path / "password").write_text(PASSWORD)
    port = free_port()
    with running_orthanc(tmp_path / "orthanc") as orthanc:
        orthanc.upload(*(tmp_path / "dora").iterdir(), *(tmp_path / "emil").iterdir())
        command = serve_command(tmp_path / "studies", port)
        command[command.index("--studies") + 1] = orthanc.options.url
        conf = {"workspace": tmp_path / "workspace", "pacs_user": USER, "pacs_password_file": tmp_path / "password"}
        conf |= {"pacs_every_s": "1", "pacs_min_slices": "4", "auto_score": "false"}
        command += [str(word) for name, value in conf.items() for word in ("--conf", name, value)]
        with running(command, tmp_path, port, tmp_path / "server.log", tmp_path) as server:
            info = f"{server.url}/datastore/image/info?image="
            wait_for(lambda: all(requests.get(f"{info}{uid}", timeout=60).ok for uid in (dora, emil)), 60)
            page.goto(f"{server.url}/open/{dora}", wait_until="commit")
            page.locator(".sarcopenia[data-ready=true]").wait_for()
            page.fill("input[name=who]", "Dr Dora")
            page.press("input[name=who]", "Tab")
            page.click("button[name=run]")
            page.locator(".sarcopenia .answer table").wait_for()
            wait_for_rest(page)
            canvas = page.locator("canvas.cornerstone-canvas").first.bounding_box()
            page.click("[data-cy=Brush]")
            drag(page, (canvas["x"] + canvas["width"] * 0.5, canvas["y"] + canvas["height"] * 0.3), 20)
            page.locator(".sarcopenia[data-edited=true]").wait_for()
            page.click("button[name=submit]")
            page.locator(".sarcopenia .revision").wait_for()
            drawn = {tuple(each) for each in page.evaluate(_DRAWN_ON)}
            (seg,) = wait_for(lambda: orthanc.instances("SEG"), 60)
            assert _marked(pydicom.dcmread(io.BytesIO(orthanc.file(seg)))) == drawn
            page.click("button[name=next]")
            page.wait_for_url(f"**{emil}**", wait_until="commit")
            page.locator(".sarcopenia[data-ready=true] .reason:not(:empty)").wait_for()


def _in_frames(path: Path, part: slice) -> CTImage:
    """Some frames of a CT as a DICOM series holds them."""
    image = read_ct(path)
    order = frame_order(image.shape, image.affine)
    hu = np.clip(order.to_frames(image.hu)[:, :, part], -1024, 3071).round().astype(np.int16)
    return CTImage(hu=hu, affine=order.affine)


def test_orders_differ_in_the_first_case(server):
    """Else the comparison voxel for voxel would not tell a wrong order from a right one."""
    first = nib.load(server.studies / "ann.nii.gz")
    assert orientations.aff2axcodes(first.affine) != ("L", "P", "S")


@pytest.mark.parametrize("axes", [("R", "A", "S"), ("I", "R", "P"), ("P", "S", "L")])
def test_every_pixel_finds_its_voxel_also_on_oblique_and_flipped_axes(page, axes):
    """The panel's own geometry, asked in the page, against that of the server."""
    shape, spacing = (7, 5, 6), np.array([0.7, 1.3, 5.0])
    turn = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 3] = [12.5, -80.25, 310.0]
    turned = orientations.ornt_transform(orientations.io_orientation(affine), orientations.axcodes2ornt(axes))
    image = nib.Nifti1Image(np.zeros(shape, np.uint8), affine).as_reoriented(turned)
    assert orientations.aff2axcodes(image.affine) == axes
    order = frame_order(image.shape, image.affine)
    grid = {"shape": image.shape, "affine": image.affine.tolist(), "axis": int(np.flatnonzero(turned[:, 0] == 2)[0])}
    voxels = order.to_frames(np.arange(np.prod(shape)).reshape(image.shape, order="F"))
    columns, rows, frames = order.shape
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ order.affine
    across, down = lps[:3, 0], lps[:3, 1]
    plane = {
        "columns": columns,
        "rows": rows,
        "columnPixelSpacing": np.linalg.norm(across),
        "rowPixelSpacing": np.linalg.norm(down),
        "rowCosines": list(across / np.linalg.norm(across)),
        "columnCosines": list(down / np.linalg.norm(down)),
    }
    for frame in range(frames):
        position = (lps @ [0, 0, frame, 1])[:3]
        found = page.evaluate(_PLACE, [grid, {**plane, "imagePositionPatient": list(position)}])
        assert found == voxels[:, :, frame].ravel(order="F").tolist()
    between = (lps @ [0, 0, 0.4, 1])[:3]
    assert page.evaluate(_PLACE, [grid, {**plane, "imagePositionPatient": list(between)}]) is None
