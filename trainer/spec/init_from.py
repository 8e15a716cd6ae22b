"""Weights that the encoder of a job begins with: those of another job, or uploaded ones."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from trainer.schema.base import Record

INIT = "init.safetensors"
"""File in the folder of a job with the weights that its encoder begins with."""


class InitFromSpec(Record):
    """Weights that the encoder begins with; heads, queue and optimizer always start fresh."""

    job: Annotated[str, Field(pattern="^job_[0-9a-z]{26}$")] | None = None
    """Id of a job: its published encoder."""
    checkpoint: Annotated[int, Field(ge=0)] | Literal["latest", "best"] | None = None
    """With `job`: the encoder of this checkpoint instead: of a step, the newest, or the best one
    by the job's `best_by`.
    """
    weights: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """Id or name of uploaded weights; the encoder is the one that they fit unless `encoder` states
    another, which is refused. For `python -m trainer`: a safetensors file; also state `encoder`.
    """
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """sha256 of the file. Default: that of the file when the job is submitted."""

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.job is None) == (self.weights is None):
            raise PydanticCustomError("init_from", "name either a job or weights")
        if self.checkpoint is not None and self.job is None:
            raise PydanticCustomError("init_from", "checkpoint belongs to a job, not to weights")
        return self
