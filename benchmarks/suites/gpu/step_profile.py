"""Time of each phase of a step, and waits of the host for the device."""

import warnings
from dataclasses import dataclass

import torch

from benchmarks.suites.gpu.arm_timings import BenchmarkContext, our_run
from benchmarks.suites.gpu.cases import Case, spec_of
from trainer.timing.phase_timer import WARM_UP_STEPS

PROFILED_STEPS = 10
COUNTED_STEPS = 10
WAITS = "synchronizing CUDA operation"
"""Part of the warning that torch gives for a wait."""


@dataclass(frozen=True, slots=True)
class StepProfile:
    """Profile of a run without CUDA graphs."""

    shares: dict[str, float]
    """Share of each phase in the time of all steps."""
    sentence: str


def profile_step(
    case: Case, context: BenchmarkContext, *, steps: int = PROFILED_STEPS
) -> StepProfile:
    """Profile some steps of a case."""
    with our_run(case, context, spec=spec_of(case, profile=True)) as run:
        for _ in range(WARM_UP_STEPS + steps):
            run.advance()
        profile = run.profiled_last()
    assert profile is not None
    return StepProfile({phase.name: phase.share for phase in profile.phases}, profile.sentence)


def waits_per_step(case: Case, context: BenchmarkContext, *, graphs: bool) -> float | None:
    """Return the host's waits for the device per step without signals; None without a GPU."""
    if context.device.type != "cuda":
        return None
    with our_run(case, context, graphs=graphs) as run:
        for _ in range(2 * WARM_UP_STEPS):
            run.advance()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                for _ in range(COUNTED_STEPS):
                    run.advance()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum(WAITS in str(warning.message) for warning in caught) / COUNTED_STEPS
