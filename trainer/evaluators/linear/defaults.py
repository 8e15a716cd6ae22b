"""Default values of the linear probe. Loads no tensors."""

from trainer.evaluators.default_rules import at_the_end, baselines
from trainer.evaluators.label_checks import check_positive_label
from trainer.evaluators.linear.spec import LinearProbeSpec
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec

RULES = (
    (
        "every_epochs",
        at_the_end("a fit takes longer than an epoch, so it is done once, at the end"),
    ),
    ("baselines", baselines),
)
"""Field -> its rule, which is given the job, the facts of its dataset, and the evaluator."""


def check(_spec: JobSpec, facts: DatasetFacts, own: LinearProbeSpec, *, field: str) -> None:
    """Raise SpecError for a positive label that the dataset does not have."""
    check_positive_label(own.positive_label, facts, field=f"{field}.positive_label")
