"""The evaluators of a job: which are due after a step, and their round over shared features."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from trainer.evaluators.base import (
    EvaluationData,
    Evaluator,
    FeatureBank,
    Measured,
    NotMeasured,
    Stopped,
)
from trainer.evaluators.held_out_pretexts import plan_pretexts
from trainer.evaluators.registry import part_of
from trainer.methods.base import Method
from trainer.modalities.base import Views
from trainer.optim.schedule import TrainingLength
from trainer.spec.resolved import ResolvedSpec


class Round(NamedTuple):
    """Results of a round of evaluators."""

    measured: dict[str, Measured]
    """Name of an evaluator -> its result."""
    seconds: Mapping[str, float] = MappingProxyType({})
    """Name of an evaluator -> time that it took; the first to ask for features waits for them."""

    @property
    def signals(self) -> dict[str, float]:
        """Signals of all of them."""
        return {
            name: value for each in self.measured.values() for name, value in each.signals.items()
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Evaluators with their rows."""

    views: Views[Any]
    evaluators: tuple[Evaluator, ...] = ()
    not_measured: tuple[str, ...] = ()
    """A sentence for each evaluator that the dataset does not suit."""

    def due_at(self, step: int, *, length: TrainingLength) -> "Evaluation":
        """Return the part of it that is due after so many steps; at 0, that with baselines."""

        def is_due(evaluator: Evaluator) -> bool:
            every_steps = evaluator.every_epochs * length.steps_per_epoch
            is_end = step >= length.steps or step % every_steps == 0
            return is_end if step else evaluator.has_baselines

        return replace(self, evaluators=tuple(filter(is_due, self.evaluators)))

    def run(self, method: Method, *, should_stop: Callable[[], bool]) -> Round | None:
        """Return the results of the method as it is, in training mode again; None if stopped."""
        return self._round(method, lambda each, bank: each.measure(bank), should_stop)

    def baselines(self, method: Method, *, should_stop: Callable[[], bool]) -> Round | None:
        """Return what figures are held against, from an untrained method; None if stopped."""
        return self._round(method, lambda each, bank: each.baselines(bank), should_stop)

    def _round(
        self,
        method: Method,
        measure: Callable[[Evaluator, FeatureBank], Measured],
        should_stop: Callable[[], bool],
    ) -> Round | None:
        bank = FeatureBank(method, self.views, should_stop=should_stop)
        measured: dict[str, Measured] = {}
        seconds: dict[str, float] = {}
        method.eval()
        try:
            for evaluator in self.evaluators:
                began_s = time.perf_counter()
                measured[evaluator.name] = measure(evaluator, bank)
                seconds[evaluator.name] = time.perf_counter() - began_s
        except Stopped:
            return None
        finally:
            method.train()
        return Round(measured, seconds)


def plan_evaluation(spec: ResolvedSpec, data: EvaluationData, *, views: Views[Any]) -> Evaluation:
    """Let each evaluator of a resolved spec choose its rows, and the pretexts, if it has any.

    Raises DataError.
    """
    plans = [part_of(own.name, "evaluator").plan(spec, own, data) for own in spec.evaluators]
    if spec.auxiliary and spec.evaluators:
        plans.append(plan_pretexts(spec, data))
    return Evaluation(
        views,
        tuple(plan for plan in plans if not isinstance(plan, NotMeasured)),
        tuple(plan.reason for plan in plans if isinstance(plan, NotMeasured)),
    )
