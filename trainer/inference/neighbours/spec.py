"""Job that searches the rows nearest to some images."""

from typing import Annotated

from pydantic import Field

from trainer.schema.base import Record
from trainer.spec.job import JobSpec


class NeighbourSearchSpec(Record):
    """Find the rows that an encoder finds most like some images. In the pool `ingest`."""

    job: JobSpec
    """Resolved spec of the job that trained the encoder."""
    encoder: Annotated[str, Field(min_length=1)]
    """Folder of its artifacts or of a checkpoint, as a path that the worker can read."""
    checkpoint: Annotated[int, Field(ge=0)] | None = None
    """Step of the checkpoint; None: the folder holds artifacts."""
    encoder_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Names the encoder: features that were computed once are found again by it."""
    features: Annotated[str, Field(min_length=1)]
    """Folder in which the features of encoders are kept."""
    rows: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False, max_length=16)
    ] = ()
    """Rows to find neighbours of. None, and no image: some are chosen, always the same."""
    image: str | None = None
    """An image file to find neighbours of, as a path that the worker can read."""
    k: Annotated[int, Field(ge=1, le=50)] = 10
    """Number of neighbors per query."""
    rows_max: Annotated[int, Field(ge=1)] = 20_000
    """Maximum number of rows to search; a larger dataset is sampled, always the same way."""
    features_max_s: Annotated[float, Field(gt=0.0)] = 30.0
    """Time limit for computing features; the search then uses the rows computed so far."""
