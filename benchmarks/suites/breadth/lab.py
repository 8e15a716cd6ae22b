"""Data, seeds and folders that claims are measured with, and the pieces that are kept."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from trainer.util.atomic_files import replace_file

Piece = dict[str, Any]
"""Figures of one training or evaluation, as JSON has them."""


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
    say: Callable[[str], None] = lambda _line: None
    spent: list[Spent] = field(default_factory=list)
    """Times of the pieces that were asked for, also of those that were measured before."""

    def piece(self, name: str, settings: object, measure: Callable[[], Piece]) -> Piece:
        """Return a piece: the kept one with these settings, else a new one, which is kept."""
        path = self.work / "pieces" / f"{name}-{fingerprint(settings)}.json"
        if not path.exists():
            began = _clocks()
            result = measure()
            spent = [end - begin for begin, end in zip(began, _clocks(), strict=True)]
            kept = {"name": name, "spent": spent, "threads": self.threads, "result": result}
            path.parent.mkdir(parents=True, exist_ok=True)
            data = json.dumps({**kept, "settings": settings}, indent=1)
            replace_file(path, data.encode())
            self.say(f"  {name}: {shown(result)}; {spent[0]:.0f} s")
        kept = json.loads(path.read_bytes())
        self.spent.append(Spent(*kept["spent"]))
        result = kept["result"]
        assert isinstance(result, dict)
        return result


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
