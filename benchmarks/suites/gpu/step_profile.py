"""Time of each phase of a step, and waits of the host for the device."""

import warnings
from dataclasses import dataclass

import torch

from benchmarks.suites.gpu.cases import Case, spec_of
from benchmarks.suites.gpu.contest import Ground, our_run
from trainer.timing.phase_timer import WARM_UP_STEPS

PROFILED_STEPS = 10
WATCHED_STEPS = 10
WAITS = "synchronizing CUDA operation"
"""Part of the warning that torch gives for a wait."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Profile of a run without CUDA graphs."""

    shares: dict[str, float]
    """Share of each phase in the time of all steps."""
    sentence: str


def shares(case: Case, ground: Ground, *, steps: int = PROFILED_STEPS) -> Shares:
    """Profile some steps of a case."""
    with our_run(case, ground, spec=spec_of(case, profile=True)) as run:
        for _ in range(WARM_UP_STEPS + steps):
            run.advance()
        told = run.profiled_last()
    assert told is not None
    return Shares({phase.name: phase.share for phase in told.phases}, told.sentence)


def waits_per_step(case: Case, ground: Ground, *, graphs: bool) -> float | None:
    """Times that the host waits for the device in a step without signals. None: no GPU."""
    if ground.device.type != "cuda":
        return None
    with our_run(case, ground, graphs=graphs) as run:
        for _ in range(2 * WARM_UP_STEPS):
            run.advance()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                for _ in range(WATCHED_STEPS):
                    run.advance()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum(WAITS in str(warning.message) for warning in caught) / WATCHED_STEPS
