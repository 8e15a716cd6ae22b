"""The field `threshold` of evaluators that tell one class from all others. Loads no tensors."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.schema.base import Record


class SpecificityThreshold(Record):
    """Lowest threshold whose specificity on validation rows is at least this."""

    specificity: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Share of negative validation rows below the threshold."""


ThresholdRule = Literal["youden"] | Annotated[float, Field(gt=0.0, lt=1.0)] | SpecificityThreshold
"""`youden`, a specificity, or a probability such as 0.5. The first two are chosen on validation
rows, never on test rows."""
