"""Which Python runs a command: the right version is looked for, and takes over.

Nothing here, nor in what the commands import beside it, is newer than Python 3.8: a Python of the wrong version reads
it first, to find the right one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import NoReturn

from scripts.command import Stop

WANTED = (3, 11)


def use_right_python(arguments: Sequence[str]) -> None:
    """Go on under Python 3.11; under any other, start the command again with an installed 3.11.

    Args:
        arguments: the script and its arguments, to be run again.

    Raises:
        Stop: this is another version and no 3.11 is installed.
    """
    if sys.version_info[:2] == WANTED:
        return
    right = find_python(wanted=WANTED)
    if right is None:
        raise Stop(wrong_python_sentence(found=sys.version_info[:2]))
    become([right, *arguments])


def wrong_python_sentence(*, found: tuple[int, ...]) -> str:
    """What to do when the running Python has the major and minor number ``found``."""
    return (
        f"This is Python {found[0]}.{found[1]} and no Python {WANTED[0]}.{WANTED[1]} was found: install "
        f"{WANTED[0]}.{WANTED[1]} (from python.org, or your system's packages) and give the same command again."
    )


def find_python(*, wanted: tuple[int, int]) -> str | None:
    """The path of an installed Python of the version ``wanted`` (major, minor), or None.

    Every candidate is asked for its version: `python3.11` on the path can be a version manager's empty shim.
    """
    version = f"{wanted[0]}.{wanted[1]}"
    question = f"import sys; sys.version_info[:2] == {wanted!r} and print(sys.executable)"
    for candidate in (["python" + version], ["py", "-" + version]):
        if shutil.which(candidate[0]) is None:
            continue
        answer = subprocess.run([*candidate, "-c", question], capture_output=True, text=True, check=False)
        if answer.returncode == 0 and answer.stdout.strip():
            return answer.stdout.strip()
    return None


def become(command: Sequence[str], *, environment: dict[str, str] | None = None) -> NoReturn:
    """Hand this process over to another command, and end as that one ends.

    Windows cannot replace a process: there the command runs as a child, and a Ctrl-C is for the child to answer.
    """
    sys.stdout.flush()
    environment = dict(os.environ) if environment is None else environment
    if os.name != "nt":
        os.execve(command[0], list(command), environment)  # noqa: S606 - no shell is what is wanted
    child = subprocess.Popen(list(command), env=environment)
    while True:
        try:
            sys.exit(child.wait())
        except KeyboardInterrupt:
            continue
