from __future__ import annotations

from pathlib import Path

from lib.networks.progress import Epoch, EpochReader, append_epoch, last_epoch


def epoch(number: int) -> Epoch:
    return Epoch(epoch=number, loss=-0.5, dice=0.9, class_dice={"psoas": 0.9})


def test_a_reader_sees_what_is_added_after_it_and_each_epoch_once(tmp_path: Path) -> None:
    path = tmp_path / "progress" / "fold_0.jsonl"
    append_epoch(path, epoch(1))
    reader = EpochReader(path)
    assert reader.new() == []
    append_epoch(path, epoch(2))
    assert reader.new() == [epoch(2)]
    assert reader.new() == []


def test_a_line_that_is_being_written_waits(tmp_path: Path) -> None:
    path = tmp_path / "fold_0.jsonl"
    append_epoch(path, epoch(1))
    line = path.read_bytes()
    path.write_bytes(line + line[:20])
    reader = EpochReader(path, position=0)
    assert reader.new() == [epoch(1)]
    path.write_bytes(line + line)
    assert reader.new() == [epoch(1)]


def test_half_a_line_of_a_killed_fold_hides_nothing_that_comes_later(tmp_path: Path) -> None:
    path = tmp_path / "fold_0.jsonl"
    append_epoch(path, epoch(1))
    path.write_bytes(path.read_bytes() + b'{"epoch": 2, "lo')
    reader = EpochReader(path)
    append_epoch(path, epoch(2))
    assert reader.new() == [epoch(2)]
    assert last_epoch(path) is not None
