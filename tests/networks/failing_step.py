"""A step that fails as it is told: ``python -m tests.networks.failing_step WORKSPACE HOW``."""

import errno
import sys

from lib.networks.children import child_process
from lib.refusals import Refusal

FAILURES = {
    "refusal": Refusal("The labels do not fit."),
    "disk": OSError(errno.ENOSPC, "No space left on device"),
    "gpu": RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "bug": KeyError("psoas"),
}

if __name__ == "__main__":
    with child_process():
        raise FAILURES[sys.argv[2]]
