"""The server starts on this machine only, on a folder that is there and a port that is free, or says why not."""

import json
import os
import socket
import subprocess
import sys

import pytest

from scripts.command import Stop
from scripts.environment import ROOT
from scripts.serve import (
    check_host,
    check_port,
    is_dicomweb,
    server_command,
    server_environment,
    studies_folder,
    with_absolute_paths,
)


@pytest.fixture
def taken_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class TestPort:
    def test_a_taken_one_is_said_to_be_taken(self, taken_port):
        with pytest.raises(Stop, match=rf"Port {taken_port} .*--port {taken_port + 1}"):
            check_port("127.0.0.1", taken_port)

    def test_one_taken_on_every_address_is_taken(self):
        with socket.socket() as listener:
            listener.bind(("0.0.0.0", 0))
            listener.listen()
            with pytest.raises(Stop):
                check_port("127.0.0.1", listener.getsockname()[1])

    def test_a_free_one_is_free_also_right_after_a_server_left_it(self):
        port = free_port()
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen()
            client = socket.create_connection(("127.0.0.1", port))
            connection, _ = listener.accept()
            connection.close()
            client.close()
        check_port("127.0.0.1", port)

    @pytest.mark.parametrize("port", [0, -1, 65536])
    def test_a_number_that_is_no_port_is_refused(self, port):
        with pytest.raises(Stop, match="no port"):
            check_port("127.0.0.1", port)


class TestHost:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
    def test_this_machine_is_served(self, host):
        check_host(host, allow_remote=False)

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "workstation.example"])
    def test_others_are_served_only_when_that_is_said(self, host):
        with pytest.raises(Stop, match=r"no password.*--allow-remote"):
            check_host(host, allow_remote=False)
        check_host(host, allow_remote=True)


class TestStudies:
    def test_a_folder_is_made_absolute(self, tmp_path, monkeypatch):
        (tmp_path / "cases").mkdir()
        monkeypatch.chdir(tmp_path)
        assert studies_folder("cases") == tmp_path / "cases"

    def test_a_missing_one_is_named(self, tmp_path):
        with pytest.raises(Stop, match=r"nowhere is not there: .*--studies"):
            studies_folder(str(tmp_path / "nowhere"))

    def test_a_file_is_no_folder(self, tmp_path):
        (tmp_path / "ct.nii.gz").write_bytes(b"x")
        with pytest.raises(Stop):
            studies_folder(str(tmp_path / "ct.nii.gz"))

    def test_paths_among_the_options_are_made_absolute(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        conf = with_absolute_paths({"workspace": "here", "pacs_user": "ann"})
        assert conf == {"workspace": str(tmp_path / "here"), "pacs_user": "ann"}

    def test_an_address_is_a_dicomweb_server_or_refused(self):
        assert is_dicomweb("https://pacs.example/dicom-web")
        assert not is_dicomweb("cases")
        with pytest.raises(Stop, match="no folder"):
            studies_folder("ftp://pacs.example/cases")


@pytest.mark.parametrize("script", ["serve.py", "demo.py"])
@pytest.mark.parametrize("wrong", ["port", "folder"])
def test_a_command_ends_with_one_sentence_before_anything_starts(script, wrong, taken_port, tmp_path):
    arguments = {
        "port": ["--port", str(taken_port), "--studies", str(tmp_path)],
        "folder": ["--port", str(free_port()), "--studies", str(tmp_path / "nowhere")],
    }
    answer = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), *arguments[wrong]],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 2
    assert len(answer.stderr.strip().splitlines()) == 1
    assert (str(taken_port) if wrong == "port" else "nowhere") in answer.stderr
    assert answer.stdout == ""


def test_background_jobs_find_the_project_and_the_studies(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    environment = server_environment(studies=tmp_path, conf={"models": "m", "retrain_after": "20"}, host="127.0.0.1")
    assert json.loads(environment["MONAI_LABEL_APP_CONF"]) == {"models": "m", "retrain_after": "20"}
    assert environment["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "elsewhere"]
    assert environment["MONAI_LABEL_STUDIES"] == str(tmp_path)
    assert environment["MONAI_LABEL_APP_DIR"] == str(ROOT / "apps" / "sarcopenia")
    code = "import monailabel.config; s = monailabel.config.settings; print(s.MONAI_LABEL_AUTO_UPDATE_SCORING)"
    answer = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"


def test_the_server_is_started_with_this_python_on_the_app_of_this_project(tmp_path):
    conf = {"models": str(tmp_path / "m"), "retrain_after": "20"}
    command = server_command(studies=tmp_path, conf=conf, host="127.0.0.1", port=8123)
    assert command[-6:] == ["--conf", "models", str(tmp_path / "m"), "--conf", "retrain_after", "20"]
    assert command[:4] == [sys.executable, "-m", "monailabel.main", "start_server"]
    assert command[command.index("--app") + 1] == str(ROOT / "apps" / "sarcopenia")
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "8123"
