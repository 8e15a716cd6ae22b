"""Default values of the evaluation of a classifier. Loads no tensors."""

from trainer.evaluators.classifier.spec import ClassifierSpec
from trainer.evaluators.default_rules import about_rounds
from trainer.evaluators.label_checks import check_positive_label
from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec

ROUNDS = 20
"""Rounds of a job: enough for a curve."""


RULES = (("every_epochs", about_rounds(ROUNDS)),)
"""Field -> its rule, which is given the job, the facts of its dataset, and the evaluator."""


def check(spec: JobSpec, facts: DatasetFacts, own: ClassifierSpec, *, field: str) -> None:
    """Raise SpecError for a job without a classifier, or a label that the dataset lacks."""
    if not spec.learns_labels:
        detail = "classifier measures the head of a finetune job, which this is not; use linear"
        raise SpecError(detail, field=f"{field}.name", also=("kind",))
    check_positive_label(own.positive_label, facts, field=f"{field}.positive_label")
    has_validation = spec.use_splits and facts.splits.get("val", 0) > 0
    if not isinstance(own.threshold, float) and not has_validation:
        raise SpecError(
            "it is chosen on images of the split val, which this dataset does not have; state a "
            "probability such as 0.5, or add the dataset again with a split val",
            field=f"{field}.threshold",
        )
