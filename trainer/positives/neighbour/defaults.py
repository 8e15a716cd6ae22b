"""Checks of positives from rows nearby in time. Loads no tensors."""

from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec


def check(spec: JobSpec, facts: DatasetFacts) -> None:
    """Raise SpecError unless rows have a sequence and a time, as far as the facts tell."""
    del spec
    if facts.timed_rows == 0:
        raise no_times()


def no_times() -> SpecError:
    """Return the error of a dataset whose rows have no sequence and time."""
    return SpecError(
        "'neighbour' needs images with a sequence and a time, and this dataset has none; add it "
        "again with the columns sequence and time in rows.csv, or use self",
        field="positives.name",
    )
