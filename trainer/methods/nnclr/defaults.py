"""Defaults of NNCLR, each with its reason."""

from trainer.methods.head_rules import PREDICTOR_RULES
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.spec.rules import Choice, Rules, power_of_two_at_most


def _temperature(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    if spec.views.is_small:
        return 0.2, "common for CIFAR-10"
    return 0.1, "the paper's value"


def _queue(_spec: JobSpec, facts: DatasetFacts) -> Choice:
    rows = power_of_two_at_most(facts.rows / 2, low=2, high=65_536)
    return rows, f"1/2 of {facts.rows} images, rounded down to a power of 2; at most 65536"


RULES: Rules = (
    *PREDICTOR_RULES,
    ("method.temperature", _temperature),
    ("method.queue_rows", _queue),
)
