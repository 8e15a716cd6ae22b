"""Checks of labels that an evaluator is told to use. Loads no tensors."""

from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts

LABELS_MAX = 10
"""Labels that a sentence names."""


def check_positive_label(label: str | None, facts: DatasetFacts, *, field: str) -> None:
    """Raise SpecError if the dataset has no such label, or no other one. `field` has the label."""
    if label is None:
        return
    check_label(label, facts, field=field)
    if len(facts.labels) == 1:
        raise SpecError(f"{label!r} is the only label, so no image is negative", field=field)


def check_label(label: str, facts: DatasetFacts, *, field: str) -> None:
    """Raise SpecError if the dataset has no such label. `field` has the label."""
    if label not in facts.labels:
        raise SpecError(f"the dataset has no label {label!r}; {listed(facts.labels)}", field=field)


def listed(labels: tuple[str, ...]) -> str:
    """Return the labels of a dataset in words, the first ones of many."""
    if not labels:
        return "it has no labels"
    more = f" and {len(labels) - LABELS_MAX} more" if len(labels) > LABELS_MAX else ""
    return f"its labels are {', '.join(labels[:LABELS_MAX])}{more}"
