"""No more cases are analysed at once than the memory holds."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lib.models import Version
from lib.models.manifest import Manifest
from scripts.analysis.memory import default_workers, gb_per_worker, left_in_cgroups


def version(preset: str) -> Version:
    return Version(
        Path(), Manifest(task="l3_muscle", network="nnunet_2d", classes={"psoas": 1}, folds=5, preset=preset)
    )


def group(folder: Path, *names: str, limit: object, used: int, cache: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{cache} 300\n")


@pytest.mark.parametrize("name", ["/", "/outer/inner", "/known/to/the/host/only"])
def test_the_limit_of_a_container_counts_without_what_is_only_cached(tmp_path, name):
    (tmp_path / "own").write_text(f"0::{name}\n")
    files = ("memory.max", "memory.current")
    group(tmp_path / "groups", *files, limit=1000, used=500, cache="inactive_file")
    group(tmp_path / "groups" / "outer", *files, limit="max", used=500, cache="inactive_file")
    group(tmp_path / "groups" / "outer" / "inner", *files, limit=700, used=500, cache="inactive_file")
    assert left_in_cgroups(tmp_path / "own", tmp_path / "groups") == (500 if "inner" in name else 800)


def test_the_older_kind_of_groups(tmp_path):
    (tmp_path / "own").write_text("5:cpu:/x\n4:memory:/x\n0::/\n")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    group(tmp_path / "groups" / "memory" / "x", *names, limit=1000, used=600, cache="total_inactive_file")
    assert left_in_cgroups(tmp_path / "own", tmp_path / "groups") == 700


def test_without_groups_nothing_limits(tmp_path):
    assert left_in_cgroups(tmp_path / "own", tmp_path) == math.inf


def test_one_large_model_among_small_ones_takes_its_memory():
    small = [version("small"), version("quick")]
    assert gb_per_worker(small) == gb_per_worker([])
    assert gb_per_worker([*small, version("paper")]) >= gb_per_worker(small) + 3
    assert gb_per_worker([version("")]) > gb_per_worker(small)  # imported: any size


def test_there_is_always_one(monkeypatch):
    monkeypatch.setattr("scripts.analysis.memory.left_in_cgroups", lambda: 0.0)
    assert default_workers([]) == 1
