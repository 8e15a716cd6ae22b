"""Defaults of no contrast: none; and its check. Loads no tensors."""

from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec
from trainer.spec.rules import Rules

RULES: Rules = ()


def check(spec: JobSpec, _facts: DatasetFacts) -> None:
    """Raise SpecError unless the job has a pretext to learn from."""
    if not spec.auxiliary:
        raise SpecError(
            "method none learns from pretexts alone, and the job has none; name one, such as "
            "rotation, or choose another method",
            field="auxiliary",
            also=("method.name",),
        )
