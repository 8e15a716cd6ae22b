"""Default values of the few-label score. Loads no tensors."""

from trainer.evaluators.default_rules import at_the_end, baselines
from trainer.evaluators.few_label.spec import FewLabelSpec
from trainer.evaluators.label_checks import check_positive_label
from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec

RULES = (
    (
        "every_epochs",
        at_the_end("the draws take longer than an epoch, so they are done at the end"),
    ),
    ("baselines", baselines),
)
"""Field -> its rule, which is given the job, the facts of its dataset, and the evaluator."""


def check(_spec: JobSpec, facts: DatasetFacts, own: FewLabelSpec, *, field: str) -> None:
    """Raise SpecError for a positive label or a number of labels that the dataset lacks."""
    check_positive_label(own.positive_label, facts, field=f"{field}.positive_label")
    counts = zip(facts.label_rows or (), facts.labels, strict=False)
    rows, label = min((each for each in counts if each[0]), default=(own.labels_per_class, ""))
    if own.labels_per_class > rows:
        raise SpecError(
            f"the smallest class, {label!r}, has {rows} labeled images; draw {rows} of each class "
            "or fewer",
            field=f"{field}.labels_per_class",
        )
