"""The demo case is the file it should be or is not there at all, and a folder with cases is left alone."""

import hashlib
import http.server
import sys
import threading
from pathlib import Path

import pytest

from lib.images.files import IMAGE_SUFFIXES
from lib.stores.folder import OWN_FOLDER
from scripts import demo_case, make_phantoms
from scripts.command import Stop

CONTENT = bytes(range(256)) * 1024


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT whole, cut off, or not at all."""

    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/silent":
            self.server.released.wait(20)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:1000] if self.path == "/cut" else CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.released = threading.Event()
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.released.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def studies(tmp_path):
    folder = tmp_path / "studies"
    folder.mkdir()
    return folder


SHA256 = hashlib.sha256(CONTENT).hexdigest()


class TestFetch:
    def test_gives_the_file_under_its_name(self, server, studies):
        target = demo_case.fetch(studies=studies, url=f"{server}/whole", sha256=SHA256)
        assert target.read_bytes() == CONTENT
        assert list(studies.iterdir()) == [target]
        assert demo_case.has_cases(studies)

    def test_another_file_is_thrown_away(self, server, studies):
        with pytest.raises(Stop, match="not the expected file"):
            demo_case.fetch(studies=studies, url=f"{server}/whole")
        assert list(studies.iterdir()) == []

    @pytest.mark.parametrize("path", ["cut", "missing", "silent"])
    def test_a_download_that_fails_leaves_nothing_behind(self, server, studies, path):
        with pytest.raises(Stop):
            demo_case.fetch(studies=studies, url=f"{server}/{path}", sha256=SHA256, patience=0.5)
        assert list(studies.iterdir()) == []

    def test_without_a_network_it_says_so(self, studies):
        with pytest.raises(Stop, match="could not be fetched"):
            demo_case.fetch(studies=studies, url="http://127.0.0.1:1/ct.nii.gz")

    def test_takes_no_longer_than_it_may(self, server, studies):
        with pytest.raises(Stop, match="could not be fetched"):
            demo_case.fetch(studies=studies, url=f"{server}/whole", sha256=SHA256, limit=-1.0)
        assert list(studies.iterdir()) == []


class TestDrawPhantoms:
    def test_gives_the_files_that_the_command_made(self, studies, monkeypatch, tmp_path):
        script = tmp_path / "make.py"
        script.write_text(
            "import pathlib, sys\n"
            "out = pathlib.Path(sys.argv[sys.argv.index('--out') + 1])\n"
            "count = sys.argv[sys.argv.index('--count') + 1]\n"
            "for name in ('cohort.csv', '.cohort.lock', *(f'p{n}.nii.gz' for n in range(int(count)))):\n"
            "    (out / name).touch()\n"
        )
        monkeypatch.setattr(demo_case, "_MAKE_PHANTOMS", script)
        (studies / "example_ct.nii.gz").touch()
        assert demo_case.draw_phantoms(studies=studies, python=Path(sys.executable)) == ["p0.nii.gz", "p1.nii.gz"]

    def test_the_command_knows_its_options(self):
        options = make_phantoms.parse(["--out", "x", "--count", "2", *demo_case._PHANTOM_OPTIONS])
        assert (options.region, options.matrix, options.without_labels) == ("abdomen", 256, True)

    def test_without_the_packages_it_says_so(self, studies, monkeypatch, tmp_path):
        monkeypatch.setattr(demo_case, "_MAKE_PHANTOMS", tmp_path / "absent.py")
        with pytest.raises(Stop, match="could not be drawn"):
            demo_case.draw_phantoms(studies=studies, python=Path(sys.executable))


class TestHasCases:
    def test_an_image_is_a_case(self, studies):
        (studies / "patient.nii.gz").write_bytes(b"x")
        assert demo_case.has_cases(studies)

    def test_a_folder_of_dicom_files_is_a_case_whatever_they_are_called(self, studies):
        (studies / "series").mkdir()
        (studies / "series" / "IM0001").write_bytes(bytes(128) + b"DICM")
        assert demo_case.has_cases(studies)

    def test_what_the_project_and_the_server_keep_there_is_not(self, studies):
        (studies / "README.md").write_text("about this folder")
        (studies / ".example_ct.nii.gz.part").write_bytes(b"x")
        for folder in ("labels", "sarcopenia"):
            (studies / folder).mkdir()
            (studies / folder / "patient.dcm").write_bytes(bytes(128) + b"DICM")
        assert not demo_case.has_cases(studies)

    def test_the_server_agrees_on_what_an_image_file_is(self):
        assert set(demo_case.IMAGE_SUFFIXES) == set(IMAGE_SUFFIXES)

    def test_the_server_keeps_its_labels_where_none_is_taken_for_a_case(self, studies):
        (studies / OWN_FOLDER).mkdir()
        (studies / OWN_FOLDER / "converted").write_bytes(bytes(128) + b"DICM")
        assert not demo_case.has_cases(studies)


class TestAddSample:
    def test_copies_the_file(self, tmp_path, studies):
        sample = tmp_path / "mine.nii.gz"
        sample.write_bytes(CONTENT)
        assert demo_case.add_sample(sample, studies=studies).read_bytes() == CONTENT
        assert [entry.name for entry in studies.iterdir()] == ["mine.nii.gz"]

    def test_leaves_a_case_of_that_name_as_it_is(self, tmp_path, studies):
        (studies / "mine.nii.gz").write_bytes(b"labelled already")
        sample = tmp_path / "mine.nii.gz"
        sample.write_bytes(CONTENT)
        demo_case.add_sample(sample, studies=studies)
        assert (studies / "mine.nii.gz").read_bytes() == b"labelled already"

    @pytest.mark.parametrize("name", ["absent.nii.gz", "notes.txt"])
    def test_what_is_no_image_is_refused_by_name(self, tmp_path, studies, name):
        (tmp_path / "notes.txt").write_text("no CT")
        with pytest.raises(Stop, match=name.replace(".", r"\.")):
            demo_case.add_sample(Path(tmp_path / name), studies=studies)
        assert list(studies.iterdir()) == []
