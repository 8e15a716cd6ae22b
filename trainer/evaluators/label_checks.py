"""Checks of the label that an evaluator tells from all others. Loads no tensors."""

from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts

LABELS_MAX = 10
"""Labels that a sentence names."""


def check_positive_label(label: str | None, facts: DatasetFacts, *, field: str) -> None:
    """Raise SpecError if the dataset has no such label, or no other one. `field` has the label."""
    if label is None:
        return
    if label not in facts.labels:
        names = ", ".join(facts.labels[:LABELS_MAX])
        more = ", ..." if len(facts.labels) > LABELS_MAX else ""
        known = f"its labels are {names}{more}" if names else "it has no labels"
        raise SpecError(f"the dataset has no label {label!r}; {known}", field=field)
    if len(facts.labels) == 1:
        raise SpecError(f"{label!r} is the only label, so no image is negative", field=field)
