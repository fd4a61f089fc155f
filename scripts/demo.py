"""From a fresh clone to a running server: `python3 scripts/demo.py [--port N] [--studies DIR] [--sample FILE]`.

Makes the environment, installs the pinned requirements, puts a demo CT and two digital phantoms into an empty
`datastore/`, starts the server on this machine only, and says where to go next. Ctrl-C stops the server. A second start
installs nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts import demo_case
from scripts.command import Stop, run_command
from scripts.environment import BUILD, ROOT, RUNTIME, Environment
from scripts.interpreter import use_right_python
from scripts.serve import STUDIES, check_port, studies_folder

HOST = "127.0.0.1"
START_LIMIT = 300.0
"""Seconds: the first start after an install compiles and reads some gigabytes of packages."""
STOP_LIMIT = 15.0
"""Seconds that the server has for finishing what it is doing."""


def main(arguments: Sequence[str]) -> int:
    """Do all the steps in turn; returns when the server has ended."""
    options = parse(arguments)
    use_right_python([__file__, *arguments])
    if options.studies == str(STUDIES):
        STUDIES.mkdir(exist_ok=True)
    studies = studies_folder(options.studies)
    check_port(HOST, options.port)
    environment = Environment()
    environment.prepare(RUNTIME)
    provide_cases(studies, sample=options.sample, environment=environment)
    check_port(HOST, options.port)
    return serve(environment, studies=studies, port=options.port, browser=not options.no_browser)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="demo.py", description="Install what is needed and start the server.")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")
    parser.add_argument("--studies", default=str(STUDIES), help="folder of CTs (default: datastore, with demo cases)")
    parser.add_argument("--sample", type=Path, help="a CT file to begin with, instead of the public one")
    parser.add_argument("--no-browser", action="store_true", help="do not open the browser")
    return parser.parse_args(arguments)


def provide_cases(
    studies: Path,
    *,
    sample: Path | None,
    environment: Environment,
    fetch: Any = demo_case.fetch,
    draw: Any = demo_case.draw_phantoms,
) -> None:
    """Put the named sample into the studies folder, or demo cases into the project's own one if that is empty.

    The demo cases are the public CT, when there is a network, and digital phantoms. What cannot be had is said.

    Args:
        studies: the folder that will be served.
        sample: a CT file, or None.
        environment: whose Python draws the phantoms.
        fetch: takes ``studies``, puts the public CT there and gives its path.
        draw: takes ``studies`` and ``python``, draws phantoms there and gives their names.

    Raises:
        Stop: the sample cannot be used.
    """
    if sample is not None:
        demo_case.add_sample(sample, studies=studies)
    if demo_case.has_cases(studies):
        return
    if studies == STUDIES.resolve():
        try:
            print(f"Demo case: {fetch(studies=studies).name}", flush=True)
        except Stop as stop:
            print(stop, flush=True)
        print("Drawing digital phantoms: CTs of people who do not exist", flush=True)
        try:
            print(f"Demo cases: {', '.join(draw(studies=studies, python=environment.python))}", flush=True)
        except Stop as stop:
            print(stop, flush=True)
        if demo_case.has_cases(studies):
            return
    print(
        f"There is no CT in {studies} yet: copy one there (.nii.gz, .nii, .nrrd, or a folder of DICOM files); "
        "it appears while the server runs.",
        flush=True,
    )


def serve(environment: Environment, *, studies: Path, port: int, browser: bool) -> int:
    """Run the server until it ends or this process is told to stop; returns the exit code.

    Raises:
        Stop: the server did not start.
    """
    log = BUILD / f"server-{port}.log"
    log.parent.mkdir(exist_ok=True)
    script = ROOT / "scripts" / "serve.py"
    command = [str(environment.python), str(script), "--studies", str(studies), "--host", HOST, "--port", str(port)]
    print(f"Starting the server (log: {log})", flush=True)
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        address = f"http://{HOST}:{port}"
        info = wait_for(address, server=server, log=log)
        cases = list(read_json(f"{address}/datastore/?output=all")["objects"])
        print(where_to_go(address, info=info, cases=cases), flush=True)
        if browser and can_open_browser():
            webbrowser.open(link_to(address, cases))
        code = server.wait()
    except KeyboardInterrupt:
        print("\nStopping the server", flush=True)
        return 0
    finally:
        stop(server)
    raise Stop(f"The server ended by itself (code {code}, {last_words(log)}): {log} says more.")


def wait_for(address: str, *, server: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    """Wait until the server answers `/info/`, and give that answer.

    Raises:
        Stop: the server ended, answered with an error, or did not answer in time.
    """
    end = time.monotonic() + START_LIMIT
    while time.monotonic() < end:
        if server.poll() is not None:
            raise Stop(f"The server did not start ({last_words(log)}): {log} says more.")
        try:
            return read_json(f"{address}/info/")
        except urllib.error.HTTPError as error:
            raise Stop(f"The server started but answers /info/ with {error}: {log} says why.") from error
        except (OSError, ValueError):
            time.sleep(0.2)
    raise Stop(f"The server did not answer within {START_LIMIT:.0f} s: {log} says how far it came.")


def last_words(log: Path) -> str:
    """The line that says why a program ended: the last exception, else the last line."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    exceptions = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Refusal)\b", line)]
    return (exceptions or lines or ["no output"])[-1]


def read_json(url: str) -> dict[str, Any]:
    """What the server on this machine answers; a proxy that is set for the internet is passed by."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as answer:
        return dict(json.load(answer))


def where_to_go(address: str, *, info: dict[str, Any], cases: Sequence[str]) -> str:
    """What a person can do now.

    Args:
        address: the server's, without a slash at its end.
        info: the answer of `/info/`.
        cases: ids of the cases.
    """
    tasks = list(info.get("models", {}))
    strategy = next(iter(info.get("strategies", {})), "first")
    case = cases[0] if cases else "CASE"
    lines = [
        "",
        f"Ready: {address}/ (what is here, and how to begin)",
        f"  Cases:      {len(cases)}",
        f"  In OHIF:    {link_to(address, cases)} (all of them: {address}/ohif/)",
        f"  Tasks:      {', '.join(tasks) or 'none'}",
        f"  3D Slicer:  module MONAI Label, server {address}, then Next Sample and Run",
        f'  Next case:  curl -X POST "{address}/activelearning/{strategy}"',
    ]
    if tasks:
        task = "l3_muscle" if "l3_muscle" in tasks else tasks[0]
        lines.append(f'  Segment:    curl -X POST "{address}/infer/{task}?image={case}&output=json"')
    lines += ["  Stop:       Ctrl-C", ""]
    return "\n".join(lines)


def link_to(address: str, cases: Sequence[str]) -> str:
    """The first case in OHIF, or OHIF's list where there is none."""
    return f"{address}/open/{urllib.parse.quote(cases[0], safe='')}" if cases else f"{address}/ohif/"


def can_open_browser() -> bool:
    """Whether there is a screen: on a Linux machine without one a text browser would take over the terminal."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server: it is asked to, and made to when it does not follow."""
    if server.poll() is not None:
        return
    server.terminate()
    try:
        server.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


if __name__ == "__main__":
    run_command(main)
