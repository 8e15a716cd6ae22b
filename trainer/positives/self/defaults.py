"""Checks of positives from the same row: they suit every dataset."""

from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec


def check(spec: JobSpec, facts: DatasetFacts) -> None:
    """Do nothing."""
    del spec, facts
