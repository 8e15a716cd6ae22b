"""Default values of the segmentation evaluation, and what a dataset must have. Loads no tensors."""

from trainer.evaluators.segmentation.spec import SegmentationSpec
from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.spec.rules import Choice, filled

ROUNDS = 5
"""Rounds of a job: each trains a classifier."""


def _every_epochs(spec: JobSpec, _facts: DatasetFacts, _own: SegmentationSpec) -> Choice:
    return max(1, filled(spec.epochs) // ROUNDS), f"about {ROUNDS} rounds in the whole run"


def _baselines(_spec: JobSpec, _facts: DatasetFacts, _own: SegmentationSpec) -> Choice:
    return True, "baselines put the figures in context"


RULES = (("every_epochs", _every_epochs), ("baselines", _baselines))
"""Field -> its rule, which is given the job, the facts of its dataset, and the evaluator."""


def check(_spec: JobSpec, facts: DatasetFacts, _own: SegmentationSpec, *, field: str) -> None:
    """Raise SpecError for a dataset without masks, as far as the facts tell.

    `field` is where the spec has the evaluator.
    """
    if facts.masked_rows == 0:
        raise SpecError(
            "segmentation needs images with masks, and this dataset has none; add it again with "
            "--masks FOLDER or with the column mask in rows.csv, or use another evaluator",
            field=f"{field}.name",
        )
