"""Default values of the anomaly evaluation, and what a dataset must have. Loads no tensors."""

from trainer.evaluators.anomaly.spec import AnomalySpec
from trainer.evaluators.default_rules import about_rounds, baselines
from trainer.evaluators.label_checks import check_label, listed
from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.spec.rules import Choice, filled

ROUNDS = 10
"""Rounds of a job."""


def _normal(_spec: JobSpec, facts: DatasetFacts, _own: AnomalySpec) -> Choice:
    return facts.labels, "the labels that are trained on"


RULES = (("normal", _normal), ("every_epochs", about_rounds(ROUNDS)), ("baselines", baselines))
"""Field -> its rule, which is given the job, the facts of its dataset, and the evaluator."""


def check(spec: JobSpec, facts: DatasetFacts, own: AnomalySpec, *, field: str) -> None:
    """Raise SpecError unless some images are normal and others may be anomalies.

    `field` is where the spec has the evaluator.
    """
    normal, field = filled(own.normal), f"{field}.normal"
    if not normal:
        raise SpecError(
            "the dataset has no labels; name those of the test dataset's normal images",
            field=field,
        )
    if spec.test_dataset is not None and not facts.labels:
        return  # the labels are those of the test dataset
    for label in normal:
        check_label(label, facts, field=field)
    if spec.test_dataset is None and not set(facts.labels) - set(normal):
        raise SpecError(
            "all labels of the dataset are normal, so no image is an anomaly; name the labels of "
            f"normal images ({listed(facts.labels)}), or a test_dataset",
            field=field,
        )
