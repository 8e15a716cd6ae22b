"""Learning rate as a pure function of the step."""

import math
from dataclasses import dataclass

from trainer.optim.spec import ConstantSpec, LinearSpec, ResolvedScheduleSpec, StepsSpec


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

    Warm-up rises by the step and counts as part of the epochs; a decay then spans what is left.
    With `warmup_from` 1 its first step has 1 / warm-up steps of the peak, else 0. Per epoch, the
    epoch is a whole number, as in the authors' adjust_learning_rate, counted from `first_epoch`.
    """
    epoch = step / length.steps_per_epoch
    warmup_epochs = _warmup_epochs(spec, length)
    if epoch < warmup_epochs:
        risen = (step + spec.warmup_from) / length.steps_per_epoch
        return peak * min(1.0, risen / warmup_epochs)
    if isinstance(spec, ConstantSpec):
        return peak
    if isinstance(spec, LinearSpec):
        share = (epoch - warmup_epochs) / (length.epochs - warmup_epochs)
        return spec.lr_min + (peak - spec.lr_min) * (1.0 - share)
    whole_epoch = step // length.steps_per_epoch + spec.first_epoch
    if isinstance(spec, StepsSpec):
        return peak * spec.factor ** sum(whole_epoch >= fall for fall in spec.epochs)
    passed = epoch if spec.per == "step" else float(whole_epoch)
    share = max(0.0, passed - warmup_epochs) / (length.epochs - warmup_epochs)
    return spec.lr_min + (peak - spec.lr_min) * 0.5 * (1.0 + math.cos(math.pi * share))


def _warmup_epochs(spec: ResolvedScheduleSpec, length: TrainingLength) -> float:
    if spec.warmup_steps is None:
        return spec.warmup_epochs
    return spec.warmup_steps / length.steps_per_epoch
