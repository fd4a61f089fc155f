"""Start the server: `scripts/serve.py [--studies DIR] [--host 127.0.0.1] [--port 8000]`, inside the environment."""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.command import Stop, run_command
from scripts.environment import ROOT, Environment
from scripts.interpreter import become

APP = ROOT / "apps" / "sarcopenia"
PATHS = ("workspace", "pacs_ca", "pacs_password_file")
STUDIES, MODELS = ROOT / "datastore", APP / "model"


def main(arguments: Sequence[str]) -> int:
    """Check what can be checked beforehand, set what the server reads from its environment, and become the server."""
    options = parse(arguments)
    check_host(options.host, allow_remote=options.allow_remote)
    studies = options.studies if is_dicomweb(options.studies) else studies_folder(options.studies)
    models = Path(options.models).expanduser().resolve()
    check_port(options.host, options.port)
    enter_environment(arguments)
    conf = {"models": str(models), **with_absolute_paths(dict(options.conf))}
    if options.conf:
        check_conf(conf)
    # An id that is also a file name in the working directory is taken for that file, and a `.env` there is read.
    os.chdir(ROOT)
    become(
        server_command(studies=studies, conf=conf, host=options.host, port=options.port),
        environment={**os.environ, **server_environment(studies=studies, conf=conf, host=options.host)},
    )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="serve.py", description="Start the server on a folder of CTs.")
    parser.add_argument(
        "--studies", default=str(STUDIES), help="folder of CTs, or http(s)://HOST/dicom-web (default: datastore)"
    )
    parser.add_argument("--models", default=str(MODELS), help="folder of trained models (default: that of the app)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")
    parser.add_argument("--allow-remote", action="store_true", help="listen on an address other machines can reach")
    parser.add_argument(
        "--conf",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="an option of the app, such as retrain_after 20; the README lists them; may be given several times",
    )
    return parser.parse_args(arguments)


def check_host(host: str, *, allow_remote: bool) -> None:
    """Refuse an address that other machines can reach, unless it was asked for in so many words.

    Raises:
        Stop: the address is not this machine's own.
    """
    if not is_local(host) and not allow_remote:
        raise Stop(
            f"The server has no password, and on {host} everyone in the network could read and delete the patients' "
            "images: leave --host out, or add --allow-remote if that network is meant to."
        )


def is_local(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def with_absolute_paths(conf: Mapping[str, str]) -> dict[str, str]:
    """The same options, with paths as they are seen from here: the server works in another folder."""
    return {name: str(Path(value).expanduser().resolve()) if name in PATHS else value for name, value in conf.items()}


def is_dicomweb(studies: str) -> bool:
    """Whether ``--studies`` names a DICOMweb server."""
    return studies.startswith(("http://", "https://"))


def studies_folder(studies: str) -> Path:
    """The folder that ``--studies`` names, absolute.

    Raises:
        Stop: it is an address, or no folder.
    """
    if "://" in studies:
        raise Stop(
            f"--studies {studies} is no folder: scripts/serve.py takes a DICOMweb server at http:// or https://, and "
            "nothing else that is an address."
        )
    folder = Path(studies).expanduser().resolve()
    if not folder.is_dir():
        raise Stop(f"The folder {folder} is not there: make it, or name another one with --studies.")
    return folder


def check_port(host: str, port: int) -> None:
    """See that a server can listen there, before anything is started.

    Raises:
        Stop: the port is taken, or may not be used.
    """
    if not 0 < port < 65536:
        raise Stop(f"{port} is no port: give one from 1 to 65535 with --port.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name != "nt":
            # As the server itself does: a port whose last connections are still winding down is free. On Windows
            # the same option would let two servers share one port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise Stop(f"Port {port} is not yours to use: choose one above 1023 with --port.") from None
        except socket.gaierror:
            raise Stop(f"{host} is no address of this machine: leave --host out, or give one.") from None
        except OSError as error:
            raise Stop(
                f"Port {port} on {host} cannot be used ({error.strerror}): stop the program that has it, or choose "
                f"another one, such as --port {port + 1 if port < 65535 else 8000}."
            ) from None


def check_conf(conf: Mapping[str, str]) -> None:
    """See that the app knows these options; it would say so itself, at the end of a long traceback.

    Raises:
        Stop: there is no such option, or it cannot have that value.
    """
    sys.path.insert(0, str(ROOT))
    from lib.options import AppOptions  # noqa: PLC0415 - only there is in the environment, and it takes seconds
    from lib.refusals import Refusal  # noqa: PLC0415

    try:
        AppOptions.from_conf(conf)
    except Refusal as refusal:
        raise Stop(str(refusal)) from refusal


def enter_environment(arguments: Sequence[str]) -> None:
    """Go on inside the environment: start this script again there when it was started outside.

    A Python that has MONAI Label without being in `.venv` (a container, a conda environment) is taken as it is.

    Raises:
        Stop: there is no environment yet.
    """
    environment = Environment()
    if environment.is_entered() or importlib.util.find_spec("monailabel") is not None:
        return
    if not environment.python.exists():
        raise Stop(f"There is no environment yet: `python3 {ROOT / 'scripts' / 'demo.py'}` makes it and starts here.")
    become([str(environment.python), __file__, *arguments])


def server_command(*, studies: Path | str, conf: Mapping[str, str], host: str, port: int) -> list[str]:
    """MONAI Label's own start command; its shell script `monailabel` is passed by, it takes any Python on the path."""
    options = [word for name, value in conf.items() for word in ("--conf", name, value)]
    return [
        *(sys.executable, "-m", "monailabel.main", "start_server"),
        *("--app", str(APP), "--studies", str(studies), "--host", host, "--port", str(port)),
        *("--uvicorn_app", "lib.server.app:app", *options),
    ]


def server_environment(*, studies: Path | str, conf: Mapping[str, str], host: str) -> dict[str, str]:
    """What the server and its background jobs read from the environment, most of it once, at import."""
    python_path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        # Background jobs are processes of their own: they find `lib`, the app and the studies through these.
        "PYTHONPATH": os.pathsep.join(python_path),
        "MONAI_LABEL_APP_DIR": str(APP),
        "MONAI_LABEL_STUDIES": str(studies),
        "MONAI_LABEL_APP_CONF": json.dumps(conf),
        "PYTHONUTF8": "1",
        # Scores are computed on a schedule of our own: the stock one queues a job at every Next Sample.
        "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",
        # On an address of this machine alone the server answers to that machine's names only.
        "SARCOPENIA_LABEL_HOSTS": " ".join({"localhost", "127.0.0.1", "::1", host}) if is_local(host) else "",
        # A second copy of `lib` would have exception classes of its own, which nobody catches.
        "MONAI_LABEL_RELOAD_APP_LIB": "false",
    }


if __name__ == "__main__":
    run_command(main)
