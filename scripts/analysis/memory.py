"""How many cases can be analysed at once."""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from pathlib import Path

import psutil

from lib.models import Version

_GB_PER_CASE = 2.5
_GB_OF_MODELS = 3.0  # docs/benchmarks.md measures 3.46 with two ensembles of the paper's network, Python included
_SMALL = {"small", "quick"}
_GPU_GB = 4.0  # two such ensembles, a second copy of their weights for all folds at once, and CUDA itself
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")


def default_workers(versions: Collection[Version]) -> int:
    """As many as there are cores, and as memory allows for with large CTs and these models; at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = min(psutil.virtual_memory().available, left_in_cgroups())
    on_gpu = gpu_memory() / 1e9 / _GPU_GB if versions else math.inf
    return max(1, int(min(cores, free / 1e9 / gb_per_worker(versions), on_gpu)))


def gb_per_worker(versions: Collection[Version]) -> float:
    """Gigabytes that a process takes at its peak."""
    large = any(version.manifest.preset not in _SMALL for version in versions)
    return _GB_PER_CASE + (_GB_OF_MODELS if large else 0.0)


def gpu_memory() -> float:
    """Free bytes of the GPU that models would run on; infinite without one."""
    import torch  # noqa: PLC0415 - it takes seconds

    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else math.inf


def left_in_cgroups(own: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that the control groups of this process, as containers have them, leave it; infinite without a limit.

    Args:
        own: the list of groups that the process is in.
        mounted: where all groups are.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not on Linux
        return math.inf
    left = math.inf
    for line in lines:
        _, kinds, name = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        root = mounted / "memory" if kinds else mounted
        group = root / name.lstrip("/")
        # In a container its own group is the root, by whatever name the host knows it.
        for folder in (group, *group.parents):
            if folder.is_relative_to(root):
                left = min(left, _left_in(folder, *(_V1 if kinds else _V2)))
    return left


def _left_in(folder: Path, limit: str, used: str, cache: str) -> float:
    try:
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        # Files that were read count as used until somebody needs the memory.
        taken = int((folder / used).read_text()) - int(stat.get(cache, 0))
        return int((folder / limit).read_text()) - taken
    except (OSError, ValueError):  # no such group, or its limit is "max"
        return math.inf
