"""Learning rate as a pure function of the step."""

import math
from dataclasses import dataclass

from trainer.optim.spec import ConstantSpec, ResolvedScheduleSpec, StepsSpec


@dataclass(frozen=True, slots=True)
class TrainingLength:
    """Length of a run."""

    epochs: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.epochs * self.steps_per_epoch


def lr_at(step: int, *, spec: ResolvedScheduleSpec, peak: float, length: TrainingLength) -> float:
    """Return the learning rate of a step in [0, length.steps).

    Warm-up rises by the step and counts as part of the epochs; a cosine then spans what is left.
    With `warmup_from` 1 its first step has 1 / warm-up steps of the peak, else 0. Per epoch, the
    epoch is a whole number, as in the authors' adjust_learning_rate, counted from `first_epoch`.
    """
    epoch = step / length.steps_per_epoch
    if epoch < spec.warmup_epochs:
        risen = (step + spec.warmup_from) / length.steps_per_epoch
        return peak * min(1.0, risen / spec.warmup_epochs)
    if isinstance(spec, ConstantSpec):
        return peak
    whole_epoch = step // length.steps_per_epoch + spec.first_epoch
    if isinstance(spec, StepsSpec):
        return peak * spec.factor ** sum(whole_epoch >= fall for fall in spec.epochs)
    passed = epoch if spec.per == "step" else float(whole_epoch)
    share = max(0.0, passed - spec.warmup_epochs) / (length.epochs - spec.warmup_epochs)
    return peak * 0.5 * (1.0 + math.cos(math.pi * share))
