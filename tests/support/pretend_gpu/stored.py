"""Counts of a step, kept beside the test, so that a change of them is seen."""

import json
from pathlib import Path

import torch

from tests.support.pretend_gpu.run import Result

PATH = Path(__file__).resolve().parents[2] / "contract" / "pretend_gpu.json"
COMMAND = "python -m tests.support.pretend_gpu"
TOLERANCE = 0.02
STEADY_EPOCH = 1
"""The second: graphs are captured in the first."""

Figures = dict[str, float]


def figures(result: Result) -> Figures:
    """Return what one step of the steady epoch does on average, and the run's peak of memory."""
    done = result.epoch(STEADY_EPOCH)
    steps = result.steps_per_epoch
    begin, end = (result.readings[epoch * steps].copies_to_device for epoch in (1, 2))
    pageable = [copy for copy in result.counts.to_device[begin:end] if not copy.is_pinned]
    return {
        "kernels": done.kernels / steps,
        "operand_bytes": done.operand_bytes / steps,
        "launches": done.launches / steps,
        "pageable_copies": len(pageable) / steps,
        "pageable_bytes": sum(copy.size_bytes for copy in pageable) / steps,
        "peak_bytes": result.peak_bytes,
    }


def differences(now: Figures, before: Figures) -> dict[str, tuple[float, float]]:
    """Return figures that differ by more than the tolerance, each with the stored one."""
    return {
        name: (now[name], before[name])
        for name in before
        if abs(now[name] - before[name]) > TOLERANCE * before[name]
    }


def load() -> tuple[str, dict[str, Figures]]:
    """Return the version of torch that was counted with, and the figures of each case."""
    stored = json.loads(PATH.read_text())
    return stored["torch"], stored["cases"]


def save(cases: dict[str, Figures]) -> None:
    """Store figures counted with this version of torch."""
    PATH.write_text(json.dumps({"torch": torch.__version__, "cases": cases}, indent=1) + "\n")
