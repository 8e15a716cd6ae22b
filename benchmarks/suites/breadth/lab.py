"""Data, seeds and folders that claims are measured with, and the pieces that are kept."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.suites.breadth.side_by_side import run_all
from trainer.util.atomic_files import replace_file

Piece = dict[str, Any]
"""Figures of one training or evaluation, as JSON has them."""


class Task(NamedTuple):
    """A piece to measure; it is kept by its name and settings."""

    name: str
    settings: object
    measure: Callable[[], Piece]


class Spent(NamedTuple):
    """Time of one piece."""

    seconds: float
    processor_s: float
    """Processor time of all threads and child processes, which a busy machine hardly changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """Data, seeds and folders that every claim is measured with."""

    data: Path
    """Folder of the archives."""
    work: Path
    """Folder of packs and of pieces; a run that was cut goes on from them."""
    seeds: int = 3
    threads: int | None = None
    """Threads of each measurement; None: as many as a job takes."""
    jobs: int = 1
    """Measurements at once."""
    say: Callable[[str], None] = lambda _line: None
    spent: list[Spent] = field(default_factory=list)
    """Times of the pieces that were asked for, also of those that were measured before."""

    @property
    def scratch(self) -> Path:
        """Folder of the measurement that runs in this process."""
        return self.work / f"scratch-{os.getpid()}"

    def piece(self, name: str, settings: object, measure: Callable[[], Piece]) -> Piece:
        """Return a piece: the kept one with these settings, else a new one, which is kept."""
        (piece,) = self.pieces([Task(name, settings, measure)])
        return piece

    def pieces(self, tasks: Sequence[Task]) -> list[Piece]:
        """Return the pieces of tasks, in their order."""
        self.measure(tasks)
        kept = [json.loads(self._path(task).read_bytes()) for task in tasks]
        self.spent.extend(Spent(*each["spent"]) for each in kept)
        return [each["result"] for each in kept]

    def measure(self, tasks: Sequence[Task]) -> None:
        """Measure the pieces that are not kept yet, several at once."""
        missing = [partial(self._keep, task) for task in tasks if not self._path(task).exists()]
        if self.jobs > 1 and len(missing) > 1:
            run_all(missing, at_once=self.jobs)
        else:
            for keep in missing:
                keep()

    def _path(self, task: Task) -> Path:
        return self.work / "pieces" / f"{task.name}-{fingerprint(task.settings)}.json"

    def _keep(self, task: Task) -> None:
        began = _clocks()
        try:
            result = task.measure()
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)
        spent = [end - begin for begin, end in zip(began, _clocks(), strict=True)]
        kept = {"name": task.name, "spent": spent, "threads": self.threads, "result": result}
        path = self._path(task)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps({**kept, "settings": task.settings}, indent=1).encode())
        self.say(f"  {task.name}: {shown(result)}; {spent[0]:.0f} s")


def _clocks() -> Spent:
    times = os.times()
    own, children = times.user + times.system, times.children_user + times.children_system
    return Spent(time.monotonic(), own + children)


def fingerprint(settings: object) -> str:
    """Return a short hash of settings that JSON can hold."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def shown(result: Mapping[str, Any]) -> str:
    """Return the single figures of a piece in words."""
    return ", ".join(f"{k} {v:.4g}" for k, v in result.items() if isinstance(v, float))
