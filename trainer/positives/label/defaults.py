"""Checks of positives from rows of the same label. Loads no tensors."""

from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec

FIELD = "positives.name"


def check(spec: JobSpec, facts: DatasetFacts) -> None:
    """Raise SpecError unless the dataset has at least two labels."""
    del spec
    if not facts.labels:
        raise SpecError(
            "label needs a labeled dataset, and this one has no labels; add it again with folders "
            "of classes or a labels.csv, or use self",
            field=FIELD,
        )
    counts = facts.label_rows or (1,) * len(facts.labels)
    labels = [name for name, rows in zip(facts.labels, counts, strict=True) if rows]
    if len(labels) < 2:
        raise one_label(f"all labeled images have the label {labels[0]}")


def one_label(what: str) -> SpecError:
    """Return the error of rows that do not have two labels; `what` says what they have."""
    return SpecError(f"{what}, which leaves no negatives; use self", field=FIELD)
