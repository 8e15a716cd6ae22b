"""Checks of positives from pairs. Loads no tensors."""

from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec


def check(spec: JobSpec, facts: DatasetFacts) -> None:
    """Raise SpecError unless rows are paired, as far as the facts tell."""
    del spec
    if facts.paired_rows == 0:
        raise no_pairs()


def no_pairs() -> SpecError:
    """Return the error of a dataset without pairs."""
    return SpecError(
        "pair needs images that share a word in the column pair of rows.csv, and this dataset has "
        "none; add it again with such a table, or use self",
        field="positives.name",
    )
