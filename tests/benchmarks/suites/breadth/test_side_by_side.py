"""Measurements in child processes."""

import os
import time
from functools import partial
from pathlib import Path

import pytest

from benchmarks.suites.breadth.lab import Lab, Piece, Task
from benchmarks.suites.breadth.side_by_side import run_all


def meet(folder: Path, own: str, other: str) -> Piece:
    """Wait for another task, which runs at the same time."""
    (folder / own).touch()
    deadline = time.monotonic() + 60.0
    while not (folder / other).exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return {"process": os.getpid()}


def test_pieces_are_measured_at_once_in_processes_of_their_own(tmp_path: Path) -> None:
    lab = Lab(data=tmp_path, work=tmp_path / "work", jobs=2)
    names = [("a", "b"), ("b", "a"), ("a", "a")]
    tasks = [
        Task(f"task-{number}", 0, partial(meet, tmp_path, *pair))
        for number, pair in enumerate(names)
    ]
    pieces = lab.pieces(tasks)
    assert len({piece["process"] for piece in pieces} | {os.getpid()}) == 4
    assert lab.pieces(tasks) == pieces
    assert len(lab.spent) == 6


def test_no_more_at_once_than_asked_for(tmp_path: Path) -> None:
    def alone() -> None:
        (tmp_path / "running").mkdir()  # fails if there is another
        time.sleep(0.01)
        (tmp_path / "running").rmdir()

    run_all([alone] * 3, at_once=1)


def test_a_task_that_fails_ends_the_others(tmp_path: Path) -> None:
    def fail() -> None:
        os._exit(3)

    def never() -> None:
        time.sleep(60.0)

    began = time.monotonic()
    with pytest.raises(RuntimeError, match="a measurement failed"):
        run_all([never, fail, (tmp_path / "late").touch], at_once=2)
    assert time.monotonic() - began < 50.0
    assert not (tmp_path / "late").exists()
