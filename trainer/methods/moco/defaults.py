"""Defaults of Momentum Contrast, each with its reason."""

from trainer.methods.moco.spec import MoCoSpec
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.spec.rules import (
    POINTS,
    Choice,
    Rules,
    filled,
    power_of_two_at_most,
    steps_of,
)

READ_QUICKLY = 4096
"""Number of negatives that cost at most a tenth of a step of the small encoder."""


def _queue(spec: JobSpec, facts: DatasetFacts) -> Choice:
    high = 4096 if spec.views.is_small else 65_536
    rows = power_of_two_at_most(facts.rows / 4, low=2, high=high)
    return rows, (
        f"1/4 of {facts.rows} images, rounded down to a power of 2, so that an image's own keys are"
        f" rare; at most {high}"
    )


def _momentum(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    if _queue_rows(spec) <= 4096:
        return 0.99, "Short queues refresh quickly, so a lower momentum works"
    return 0.999, "the papers' value for long queues"


def _temperature(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    if spec.views.is_small:
        return 0.1, "the MoCo authors' value for CIFAR-10"
    return 0.2, "the value of MoCo v2"


def _head(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    if moco_of(spec).has_hidden_settings:
        return "mlp", "its hidden layers are set"
    if spec.views.is_small:
        return "linear", "the MoCo authors' choice for CIFAR-10"
    return "mlp", "MoCo v2"


def _parts(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    gpus = spec.resources.gpus
    if gpus == 1:
        return 1, "one GPU shuffles the keys of the whole batch"
    return gpus, "one part for each GPU, so that no image moves between them"


def _start(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    if spec.init_from is None:
        return "random", "as in the papers"
    return "empty", "a trained encoder is held against real keys from the first step"


def _signals(spec: JobSpec, facts: DatasetFacts) -> Choice:
    """Choose the interval of signals: longer with a long queue, which each reading uses."""
    for_points, for_negatives = steps_of(spec, facts) // POINTS, _queue_rows(spec) // READ_QUICKLY
    every_steps = max(1, min(50, max(for_points, for_negatives)))
    if for_negatives > for_points and every_steps > 1:
        return every_steps, "reading this many negatives takes long"
    return every_steps, f"about {POINTS} points per curve, at most 50 steps apart"


def moco_of(spec: JobSpec) -> MoCoSpec:
    """Return the method of a job of Momentum Contrast."""
    assert isinstance(spec.method, MoCoSpec)
    return spec.method


def _queue_rows(spec: JobSpec) -> int:
    return filled(moco_of(spec).queue_rows)


RULES: Rules = (
    ("method.queue_rows", _queue),
    ("method.momentum", _momentum),
    ("method.temperature", _temperature),
    ("method.head", _head),
    ("method.shuffle_parts", _parts),
    ("method.negatives_start", _start),
    ("signals_every_steps", _signals),
)
