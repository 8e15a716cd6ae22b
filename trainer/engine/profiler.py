"""Periodic time profiles of a run."""

import time
from collections.abc import Callable
from typing import get_args

from trainer.engine.bottleneck import RunProfile, diagnose
from trainer.schema.events import Phase, PhaseTime, Profiled
from trainer.timing.phase_timer import NullTimer
from trainer.timing.phase_totals import BETWEEN_STEPS, Times

EVERY_S = 5.0
STEPS_MIN = 20
"""Measured before the first profile, unless the run ends sooner."""


class Profiler:
    """Timer of a run, and the diagnosis of its times."""

    def __init__(self, timer: NullTimer, add_facts: Callable[[Times], RunProfile]) -> None:
        """`add_facts` combines the times with the environment of the run."""
        self.timer, self._add_facts = timer, add_facts
        self.newest: Profiled | None = None
        """Latest profile sent."""
        self._due_s = 0.0

    def tell(self, step: int) -> Profiled | None:
        """Return the profile after `step` steps, if one is due."""
        now_s = time.monotonic()
        if now_s < self._due_s:
            return None
        times = self.timer.times()
        if times is None or times.steps < STEPS_MIN:
            return None
        self._due_s = now_s + EVERY_S
        return self._publish(times, step)

    def tell_last(self, step: int) -> Profiled | None:
        """Return the profile of the whole attempt; None if not one step was measured."""
        self.timer.end_step(rows=0)
        times = self.timer.times(wait=True)
        return None if times is None else self._publish(times, step)

    def _publish(self, times: Times, step: int) -> Profiled:
        self.newest = profile_of(self._add_facts(times), step=step)
        return self.newest


def profile_of(profile: RunProfile, *, step: int) -> Profiled:
    """Return the event that reports a profile."""
    times, diagnosis = profile.times, diagnose(profile)
    phases = []
    for name in get_args(Phase):
        if count := times.counts.get(name, 0):
            turns = count if name in BETWEEN_STEPS else times.steps
            mean_s = times.phases_s[name] / turns
            phases.append(PhaseTime(name=name, mean_s=mean_s, share=times.share(name)))
    return Profiled(
        step=step,
        steps_measured=times.steps,
        step_mean_s=times.steps_s / times.steps,
        step_median_s=times.step_median_s,
        rows_per_s=times.rows / max(times.steps_s, 1e-12),
        phases=tuple(phases),
        bottleneck=diagnosis.bottleneck,
        sentence=diagnosis.sentence,
    )
