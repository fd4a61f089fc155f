"""The demo command fills only its own empty folder, waits for the server it started, and stops it."""

import http.server
import subprocess
import sys
import threading

import pytest

from scripts import demo
from scripts.command import Stop
from scripts.environment import Environment


def fail(**_):
    raise Stop("The demo CT could not be fetched.")


def put(*, studies):
    target = studies / "example_ct.nii.gz"
    target.write_bytes(b"x")
    return target


def draw(*, studies, python):
    (studies / "phantom_1.nii.gz").write_bytes(b"x")
    return ["phantom_1.nii.gz"]


def provide(studies, *, sample=None, fetch=put, draw=draw):
    demo.provide_cases(studies, sample=sample, environment=Environment(), fetch=fetch, draw=draw)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder that stands for the project's own datastore."""
    folder = tmp_path / "datastore"
    folder.mkdir()
    (folder / "README.md").write_text("about")
    monkeypatch.setattr(demo, "STUDIES", folder)
    return folder


class TestProvideCases:
    def test_the_empty_datastore_gets_the_public_ct_and_phantoms_and_says_what_those_are(self, own, capsys):
        provide(own)
        assert (own / "example_ct.nii.gz").exists()
        assert (own / "phantom_1.nii.gz").exists()
        said = capsys.readouterr().out
        assert "example_ct.nii.gz" in said
        assert "people who do not exist" in said
        assert "phantom_1.nii.gz" in said

    def test_a_datastore_with_a_case_is_left_alone(self, own):
        (own / "mine.nii.gz").write_bytes(b"x")
        provide(own)
        assert sorted(entry.name for entry in own.iterdir()) == ["README.md", "mine.nii.gz"]

    def test_a_sample_makes_the_download_needless(self, own, tmp_path):
        (tmp_path / "mine.nii.gz").write_bytes(b"x")
        provide(own, sample=tmp_path / "mine.nii.gz")
        assert sorted(entry.name for entry in own.iterdir()) == ["README.md", "mine.nii.gz"]

    def test_without_a_network_there_are_the_phantoms(self, own, capsys):
        provide(own, fetch=fail)
        assert sorted(entry.name for entry in own.iterdir()) == ["README.md", "phantom_1.nii.gz"]
        said = capsys.readouterr().out
        assert "could not be fetched" in said
        assert "no CT in" not in said

    def test_with_neither_it_goes_on_and_says_how_to_add_a_ct(self, own, capsys):
        provide(own, fetch=fail, draw=fail)
        said = capsys.readouterr().out
        assert "could not be fetched" in said
        assert f"no CT in {own} yet: copy one there" in said

    def test_a_folder_of_the_users_own_gets_nothing_it_did_not_ask_for(self, own, tmp_path, capsys):
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        provide(theirs)
        assert list(theirs.iterdir()) == []
        assert "copy one there" in capsys.readouterr().out


class Info(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"models": {"l3_muscle": {}}}')

    def log_message(self, *_):
        pass


class TestWaitFor:
    def test_gives_the_servers_answer_past_a_proxy(self, tmp_path, monkeypatch):
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        with (
            http.server.HTTPServer(("127.0.0.1", 0), Info) as running,
            subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as server,
        ):
            thread = threading.Thread(target=running.serve_forever)
            thread.start()
            info = demo.wait_for(f"http://127.0.0.1:{running.server_port}", server=server, log=tmp_path / "log")
            running.shutdown()
            thread.join()
            demo.stop(server)
        assert info == {"models": {"l3_muscle": {}}}
        assert server.returncode is not None

    def test_a_server_that_answers_with_an_error_is_not_waited_for(self, tmp_path):
        with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as running:
            thread = threading.Thread(target=running.handle_request)
            thread.start()
            with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as server:
                with pytest.raises(Stop, match="answers /info/ with HTTP Error 501"):
                    demo.wait_for(f"http://127.0.0.1:{running.server_port}", server=server, log=tmp_path / "log")
                demo.stop(server)
            thread.join()

    def test_a_server_that_ends_is_told_with_its_last_words(self, tmp_path):
        (tmp_path / "log").write_text("starting\nOSError: the disk is full\n[ERROR] startup failed\n")
        with subprocess.Popen([sys.executable, "-c", ""]) as server:
            server.wait()
            with pytest.raises(Stop, match=r"did not start \(OSError: the disk is full\)"):
                demo.wait_for("http://127.0.0.1:1", server=server, log=tmp_path / "log")


class TestWhereToGo:
    def test_names_the_address_a_real_case_and_a_real_task(self):
        info = {"models": {"l3_slice": {}, "l3_muscle": {}}, "strategies": {"disagreement": {}}}
        said = demo.where_to_go("http://127.0.0.1:8123", info=info, cases=["example_ct"])
        assert 'curl -X POST "http://127.0.0.1:8123/infer/l3_muscle?image=example_ct&output=json"' in said
        assert 'curl -X POST "http://127.0.0.1:8123/activelearning/disagreement"' in said
        assert "server http://127.0.0.1:8123," in said
        assert "In OHIF:    http://127.0.0.1:8123/open/example_ct" in said

    def test_a_link_opens_the_first_case_whatever_its_name(self):
        assert demo.link_to("http://h:1", ["a b#c", "d"]) == "http://h:1/open/a%20b%23c"
        assert demo.link_to("http://h:1", []) == "http://h:1/ohif/"

    def test_a_server_without_cases_and_tasks_is_described_too(self):
        assert "Cases:      0" in demo.where_to_go("http://127.0.0.1:8123", info={}, cases=[])
