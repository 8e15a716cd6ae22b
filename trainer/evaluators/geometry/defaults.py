"""Default values of the evaluation of geometry. Loads no tensors."""

from trainer.evaluators.geometry.spec import GeometrySpec
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.spec.rules import Choice, filled

ROUNDS = 20
"""Rounds of a job."""


def _every_epochs(spec: JobSpec, _facts: DatasetFacts, _own: GeometrySpec) -> Choice:
    return max(1, filled(spec.epochs) // ROUNDS), f"about {ROUNDS} rounds in the whole run"


def _baselines(_spec: JobSpec, _facts: DatasetFacts, _own: GeometrySpec) -> Choice:
    return True, "baselines put the figures in context"


RULES = (("every_epochs", _every_epochs), ("baselines", _baselines))
"""Field -> its rule, which is given the job, the facts of its dataset, and the evaluator."""
