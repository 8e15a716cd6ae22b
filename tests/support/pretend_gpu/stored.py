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
    """Return what one step of the steady epoch does on average, and the run's peak of memory.

    Also the work of the last round of evaluation, if there was one.
    """
    done = result.epoch(STEADY_EPOCH)
    steps = len(done)
    last = [span.done for span in result.evaluations[-1:]]
    return {
        "kernels": sum(step.kernels for step in done) / steps,
        "operand_bytes": sum(step.operand_bytes for step in done) / steps,
        "launches": sum(step.launches for step in done) / steps,
        "copies_to_device": sum(step.copies_to_device for step in done) / steps,
        "pageable_copies": sum(len(result.pageable(span)) for span in result.steps[-steps:])
        / steps,
        "peak_bytes": result.peak_bytes,
        "evaluation_kernels": float(sum(each.kernels for each in last)),
        "evaluation_bytes": float(sum(each.operand_bytes for each in last)),
        "evaluation_waits": float(sum(each.waits for each in last)),
    }


def differences(now: Figures, before: Figures) -> dict[str, tuple[float, float]]:
    """Return figures that differ from the stored ones by more than the tolerance, with those."""
    return {
        name: (value, before.get(name, 0.0))
        for name, value in now.items()
        if abs(value - before.get(name, 0.0)) > TOLERANCE * before.get(name, 0.0)
    }


def load() -> tuple[str, dict[str, Figures]]:
    """Return the version of torch that was counted with, and the figures of each case."""
    stored = json.loads(PATH.read_text())
    return stored["torch"], stored["cases"]


def save(cases: dict[str, Figures]) -> None:
    """Store figures counted with this version of torch."""
    PATH.write_text(json.dumps({"torch": torch.__version__, "cases": cases}, indent=1) + "\n")
