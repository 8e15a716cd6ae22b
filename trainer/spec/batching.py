"""The settings of how rows are put into batches, and what follows from counts. Loads no tensors."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.schema.base import Record


class BalancedSpec(Record):
    """Batches of several images of each label that they hold, as triplets need them.

    Images without a label, held out for evaluation, or left over when a label is cut into groups
    are not trained on in that epoch.
    """

    name: Literal["balanced"] = "balanced"
    """Batching rule."""
    rows_per_label: Annotated[int, Field(ge=2, le=1024)] = 4
    """Number of images of one label that are next to each other in a batch."""
