"""Default values of the segmentation evaluation, and what a dataset must have. Loads no tensors."""

from trainer.evaluators.default_rules import about_rounds, baselines
from trainer.evaluators.segmentation.spec import SegmentationSpec
from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec

ROUNDS = 5
"""Rounds of a job: each trains a classifier."""


RULES = (("every_epochs", about_rounds(ROUNDS)), ("baselines", baselines))
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
