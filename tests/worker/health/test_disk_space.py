"""A worker takes no job while a disk of the data folder is full."""

import logging
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from worker.health.disk_space import DiskSpaceGuard, free_bytes

Usage = namedtuple("Usage", "total used free")


def test_the_fullest_disk_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs").mkdir()
    free = {tmp_path: 500, tmp_path / "jobs": 30}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1000, 0, free[path]))
    assert free_bytes(tmp_path) == 30


def test_it_waits_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free = 10
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1000, 0, free))
    guard = DiskSpaceGuard(tmp_path, free_bytes_min=100)
    with caplog.at_level(logging.INFO):
        assert [guard.has_room() for _ in range(3)] == [False] * 3
        free = 100
        assert [guard.has_room() for _ in range(3)] == [True] * 3
    said = [record.message for record in caplog.records]
    assert len(said) == 2
    assert "no job is claimed" in said[0]


def test_a_folder_that_is_gone_is_no_reason_to_crash(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "gone") >= 0
