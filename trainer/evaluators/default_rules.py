"""Default values that several evaluators share. Loads no tensors."""

from collections.abc import Callable
from typing import Any, TypeAlias

from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.spec.rules import Choice, filled

OwnRule: TypeAlias = Callable[[JobSpec, DatasetFacts, Any], Choice]
"""Rule of a field of an evaluator, given the job, the facts of its dataset, and the evaluator."""


def about_rounds(rounds: int) -> OwnRule:
    """Return the rule of `every_epochs` for about this number of rounds in a run."""

    def every_epochs(spec: JobSpec, _facts: DatasetFacts, _own: object) -> Choice:
        return max(1, filled(spec.epochs) // rounds), f"about {rounds} rounds in the whole run"

    return every_epochs


def at_the_end(reason: str) -> OwnRule:
    """Return the rule of `every_epochs` for one round, with the reason for no more."""

    def every_epochs(spec: JobSpec, _facts: DatasetFacts, _own: object) -> Choice:
        return filled(spec.epochs), reason

    return every_epochs


def baselines(_spec: JobSpec, _facts: DatasetFacts, _own: object) -> Choice:
    """Choose to measure baselines."""
    return True, "baselines put the figures in context"
