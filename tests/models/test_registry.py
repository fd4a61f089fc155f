"""Versions are there as a whole or not at all, for ever the same, and a bad one never becomes the champion."""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from lib.anatomy.schemas import L3_TISSUE
from lib.models import Registry
from lib.refusals import Refusal
from scripts.environment import ROOT
from tests.models.conftest import TASK

# Publishes versions of a megabyte for ever, or as many as it is told, and makes each the champion.
PUBLISHER = """
import sys
from pathlib import Path
from lib.anatomy.schemas import L3_MUSCLE
from lib.models import Manifest, Registry
registry = Registry(sys.argv[1])
for number in range(int(sys.argv[2])):
    with registry.staging("l3_muscle") as folder:
        for fold in range(5):
            (folder / f"fold_{fold}").mkdir()
            (folder / f"fold_{fold}" / "checkpoint_final.pth").write_bytes(bytes(200_000))
        manifest = Manifest(task="l3_muscle", network="nnunet_2d", classes=L3_MUSCLE.ids, folds=5, preset=sys.argv[3])
        version = registry.publish(folder, manifest)
    registry.set_champion("l3_muscle", version.name)
    print(version.name, flush=True)
"""


def start(registry_root, count, preset="", prefix=()):
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", PUBLISHER, str(registry_root), str(count), preset],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def staged(tmp_path):
    return sorted(path.name for path in (tmp_path / "model" / TASK / ".staging").iterdir())


class TestVersions:
    def test_a_new_task_has_none(self, registry, tmp_path):
        assert registry.versions(TASK) == []
        assert registry.champion(TASK) is None
        assert registry.stamp(TASK) == ""
        assert not (tmp_path / "model").exists()

    def test_a_published_one_is_read_back_and_is_not_the_champion_yet(self, registry, manifest, add_version):
        published = add_version()
        found = registry.version(TASK, "v0001")
        assert found == published
        assert found.fold_numbers == (0, 3)
        assert found.manifest == replace(manifest, version="v0001", files=found.manifest.files)
        assert registry.champion(TASK) is None

    def test_what_was_not_published_leaves_nothing(self, registry, add_version, tmp_path):
        add_version()
        with pytest.raises(RuntimeError, match="training broke"):
            self.break_while_staging(registry)
        assert registry.versions(TASK) == ["v0001"]
        assert staged(tmp_path) == []

    def break_while_staging(self, registry):
        with registry.staging(TASK) as folder:
            (folder / "plans.json").write_text("{}")
            raise RuntimeError("training broke")

    def test_the_name_of_a_removed_one_is_not_given_again(self, registry, add_version):
        shutil.rmtree([add_version(), add_version()][-1].folder)
        assert add_version().name == "v0003"
        assert registry.versions(TASK) == ["v0001", "v0003"]

    def test_they_are_listed_by_age_beyond_four_digits(self, registry, add_version, tmp_path):
        (tmp_path / "model" / TASK).mkdir(parents=True)
        (tmp_path / "model" / TASK / ".last").write_text("9998\n")
        for _ in range(2):
            add_version()
        assert registry.versions(TASK) == ["v9999", "v10000"]

    @pytest.mark.parametrize("name", ["v0002", "../l3_tissue/v0001", "", ".staging"])
    def test_one_that_is_not_there(self, registry, add_version, name):
        add_version()
        with pytest.raises(Refusal, match=r"no version .*there are: v0001"):
            registry.version(TASK, name)

    def test_an_unknown_task(self, registry):
        with pytest.raises(Refusal, match=r"no task \.\./x"):
            registry.versions("../x")

    def test_an_empty_folder_is_not_published(self, registry, manifest):
        with registry.staging(TASK) as folder, pytest.raises(ValueError, match="empty"):
            registry.publish(folder, manifest)
        assert registry.versions(TASK) == []

    @pytest.mark.skipif(sys.platform == "win32", reason="links need a right there that few users have")
    def test_links_are_not_published(self, registry, manifest, tmp_path):
        with registry.staging(TASK) as folder:
            (folder / "plans.json").symlink_to(tmp_path)
            with pytest.raises(ValueError, match="links"):
                registry.publish(folder, manifest)
        assert registry.versions(TASK) == []

    def test_other_classes_are_not_published(self, registry, manifest, tmp_path):
        with registry.staging(TASK) as folder:
            (folder / "plans.json").write_text("{}")
            with pytest.raises(Refusal, match=r"it shows skeletal_muscle, .* but l3_muscle is psoas"):
                registry.publish(folder, replace(manifest, classes=L3_TISSUE.ids))
            swapped = {"psoas": 2, "paraspinal": 1, "abdominal_wall": 3}
            with pytest.raises(Refusal, match="it numbers"):
                registry.publish(folder, replace(manifest, classes=swapped))
            imported = replace(manifest, classes=swapped, labels=(), origin="imported from a.zip")
            assert registry.publish(folder, imported).manifest.classes == swapped


class TestChampion:
    def test_a_running_server_notices_the_next_one(self, registry, add_version, tmp_path):
        registry.set_champion(TASK, add_version().name)
        server = Registry(tmp_path / "model")
        stamp = server.stamp(TASK)
        add_version()
        assert server.stamp(TASK) == stamp
        registry.set_champion(TASK, "v0002")
        assert server.stamp(TASK) != stamp
        assert server.champion(TASK).name == "v0002"

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (
                lambda f: (f / "manifest.json").write_text('{"task": "l3_m'),
                r"manifest\.json is damaged: it is not JSON",
            ),
            (lambda f: (f / "manifest.json").unlink(), r"manifest\.json cannot be read"),
            (lambda f: (f / "fold_3" / "checkpoint_final.pth").unlink(), "fold_3/checkpoint_final.pth cannot be read"),
            (lambda f: (f / "fold_3" / "checkpoint_final.pth").write_bytes(b"w"), "has 1 bytes and not the 7"),
            (lambda f: shutil.copy(f.parent / "v0001" / "manifest.json", f), "is that of v0001 of l3_muscle"),
            (
                lambda f: (f / "manifest.json").write_text(
                    (f / "manifest.json").read_text().replace('"psoas"', '"psoas_major"')
                ),
                "it shows psoas_major",
            ),
        ],
    )
    def test_it_stays_when_the_next_one_is_damaged(self, registry, add_version, damage, reason):
        registry.set_champion(TASK, add_version().name)
        damage(add_version().folder)
        with pytest.raises(Refusal, match=f"^Version v0002 of l3_muscle cannot be used: .*{reason}"):
            registry.set_champion(TASK, "v0002")
        assert registry.champion(TASK).name == "v0001"

    def test_one_whose_folder_is_gone_is_said_so(self, registry, add_version):
        shutil.rmtree(registry.set_champion(TASK, add_version().name).folder)
        with pytest.raises(Refusal, match="names the version v0001, which is not there: put its folder back"):
            registry.champion(TASK)

    @pytest.mark.parametrize("text", ["{}", "v0001", '{"version": 1}', '{"version": "../v0001"}', "\udcff"])
    def test_a_damaged_choice_is_said_so_and_can_be_made_again(self, registry, add_version, tmp_path, text):
        name = add_version().name
        (tmp_path / "model" / TASK / "champion.json").write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(Refusal, match=r"champion\.json of l3_muscle is damaged: choose"):
            registry.champion(TASK)
        registry.set_champion(TASK, name)
        assert registry.champion(TASK).name == name


class TestGoingBack:
    def choose(self, registry, add_version, *names):
        while len(registry.versions(TASK)) < 3:
            add_version()
        for name in names:
            registry.set_champion(TASK, name, reason=f"{name} is better")

    def test_each_time_to_the_champion_before(self, registry, add_version):
        self.choose(registry, add_version, "v0001", "v0002", "v0002", "v0003")
        assert registry.rollback(TASK).name == "v0002"
        assert registry.champion_name(TASK) == "v0002"
        assert registry.rollback(TASK).name == "v0001"
        with pytest.raises(Refusal, match="l3_muscle had no champion before v0001"):
            registry.rollback(TASK)
        assert registry.champion_name(TASK) == "v0001"

    def test_a_new_champion_after_it_is_gone_back_from_to_where_it_led(self, registry, add_version):
        self.choose(registry, add_version, "v0001", "v0002")
        registry.rollback(TASK)
        self.choose(registry, add_version, "v0003")
        assert registry.rollback(TASK).name == "v0001"

    def test_every_choice_is_remembered_with_its_reason(self, registry, add_version, tmp_path):
        self.choose(registry, add_version, "v0001", "v0002")
        registry.rollback(TASK, reason="it misses the psoas")
        told = [(each.version, each.reason, each.back) for each in Registry(tmp_path / "model").history(TASK)]
        assert told == [
            ("v0001", "v0001 is better", False),
            ("v0002", "v0002 is better", False),
            ("v0001", "it misses the psoas", True),
        ]

    def test_a_choice_of_before_there_was_a_history_counts(self, registry, add_version, tmp_path):
        self.choose(registry, add_version)
        (tmp_path / "model" / TASK / "champion.json").write_text('{"version": "v0001", "since": "2026-01-01"}\n')
        self.choose(registry, add_version, "v0003")
        assert registry.rollback(TASK).name == "v0001"

    def test_one_that_cannot_be_used_any_more_leaves_the_champion(self, registry, add_version):
        self.choose(registry, add_version, "v0001", "v0002")
        (registry.version(TASK, "v0001").folder / "fold_3" / "checkpoint_final.pth").unlink()
        with pytest.raises(Refusal, match="Version v0001 of l3_muscle cannot be used"):
            registry.rollback(TASK)
        assert registry.champion_name(TASK) == "v0002"

    def test_without_a_champion(self, registry, add_version):
        with pytest.raises(Refusal, match="no champion yet"):
            registry.rollback(TASK)

    def test_a_decision_that_was_overtaken_changes_nothing(self, registry, add_version):
        self.choose(registry, add_version, "v0001")
        stamp = registry.stamp(TASK)
        self.choose(registry, add_version, "v0002")
        with pytest.raises(Refusal, match=r"Another champion .* chosen meanwhile; v0003 is kept"):
            registry.set_champion(TASK, "v0003", stamp=stamp)
        assert registry.champion_name(TASK) == "v0002"

    def test_several_at_once_lose_no_choice(self, registry, add_version):
        self.choose(registry, add_version)
        with ThreadPoolExecutor(6) as threads:
            list(threads.map(lambda n: registry.set_champion(TASK, f"v{n % 3 + 1:04d}", reason=str(n)), range(30)))
        assert sorted(int(each.reason) for each in registry.history(TASK)) == list(range(30))


class TestSeveralProcesses:
    def test_publishers_never_collide_and_readers_see_whole_versions(self, registry, tmp_path):
        publishers = [start(tmp_path / "model", 5, preset=str(n)) for n in range(3)]
        while any(publisher.poll() is None for publisher in publishers):
            for name in registry.versions(TASK):
                registry.version(TASK, name)
            registry.champion(TASK)
        outputs = [publisher.communicate() for publisher in publishers]
        assert [complaint for _, complaint in outputs] == [""] * 3
        names = {name: str(n) for n, (said, _) in enumerate(outputs) for name in said.split()}
        assert sorted(names) == registry.versions(TASK) == [f"v{n:04d}" for n in range(1, 16)]
        assert {name: registry.version(TASK, name).manifest.preset for name in names} == names
        assert staged(tmp_path) == []

    def test_killed_at_any_moment_nothing_half_written_is_seen(self, registry, add_version, tmp_path):
        """The folder that the killed one was building is gone after the next staging."""
        chance = random.Random(1)
        left_over = 0
        for _ in range(6):
            process = start(tmp_path / "model", 10_000)
            assert process.stdout.readline().startswith("v")
            time.sleep(chance.uniform(0, 0.1))
            process.kill()
            process.communicate()
            left_over += bool(staged(tmp_path))
            for name in registry.versions(TASK):
                registry.version(TASK, name)
            assert registry.champion(TASK) is not None
        assert left_over
        add_version()
        assert staged(tmp_path) == []

    def test_what_a_living_process_builds_is_left_alone(self, registry, add_version, manifest, tmp_path):
        with registry.staging(TASK) as folder:
            (folder / "plans.json").write_text("{}")
            add_version()
            other = start(tmp_path / "model", 1)
            assert other.communicate(timeout=60) == ("v0002\n", "")
            assert registry.publish(folder, manifest).name == "v0003"


class TestDiskFull:
    def test_while_it_is_filled_is_one_sentence_and_leaves_nothing(self, registry, add_version, tmp_path):
        registry.set_champion(TASK, add_version().name)
        with pytest.raises(Refusal, match="because the disk is full") as refusal:
            self.fill_while_staging(registry)
        assert refusal.value.status_code == 507
        assert staged(tmp_path) == []
        assert registry.champion(TASK).name == "v0001"

    def fill_while_staging(self, registry):
        with registry.staging(TASK) as folder:
            (folder / "plans.json").write_text("{}")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def test_a_disk_that_really_is_full(self, tmp_path):
        """On a file system of 2.5 MB in a mount namespace of its own, where the system allows one."""
        (tmp_path / "model").mkdir()
        mount = f"mount -t tmpfs -o size=2500k none {tmp_path / 'model'}"
        allowed = ["unshare", "--user", "--map-root-user", "--mount"]
        if not shutil.which("unshare") or subprocess.run([*allowed, "sh", "-c", mount], check=False).returncode:
            pytest.skip("no file system can be mounted here")
        after = f'"$@"; ls -A {tmp_path}/model/{TASK} {tmp_path}/model/{TASK}/.staging; cat {tmp_path}/model/{TASK}/ch*'
        with start(tmp_path / "model", 9, prefix=[*allowed, "sh", "-c", f"{mount}; {after}", "sh"]) as process:
            said, complained = process.communicate(timeout=60)
        names, choice = said.rsplit("\n", 2)[:2]
        assert complained.splitlines()[-1].endswith(
            "Keeping a new version of l3_muscle failed because the disk is full: free some space and try again."
        )
        assert names.split()[:2] == ["v0001", "v0002"]
        listed, staging = names.split(f"{TASK}/.staging:")
        assert "v0003" not in listed
        assert staging.split() == []
        assert json.loads(choice)["version"] == "v0002"
