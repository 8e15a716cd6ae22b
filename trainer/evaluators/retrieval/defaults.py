"""Default values of the retrieval evaluation. Loads no tensors."""

from trainer.evaluators.default_rules import baselines
from trainer.evaluators.retrieval.spec import KS, RetrievalSpec
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.spec.rules import Choice


def _k(_spec: JobSpec, _facts: DatasetFacts, _own: RetrievalSpec) -> Choice:
    return KS[-1], "a screen of results"


RULES = (("k", _k), ("baselines", baselines))
"""Field -> its rule, which is given the job, the facts of its dataset, and the evaluator."""
