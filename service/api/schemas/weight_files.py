"""Schemas of uploaded weights."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from service import ids
from service.api.schemas import examples
from service.api.schemas.job_history import Listing
from service.api.schemas.jobs_and_datasets import Sha256, StatusReason, response_config
from service.weights.weights_store import WeightsRecord
from trainer.modalities.image.encoders.fitting_encoders import FittingEncoder
from trainer.schema.base import Record
from trainer.spec.rules import filled


class WeightsRequest(Record):
    """Weights to upload with PUT."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.NEW_WEIGHTS]})

    name: Annotated[str, Field(pattern=ids.DATASET_NAME)]
    """Name for `init_from`. Letters, digits, dot, dash and underscore; must not be in use."""
    size_bytes: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    """Size of the file. Required for uploads in several parts."""
    sha256: Sha256 | None = None
    """sha256 of the file, in hexadecimal. If given, the upload is checked against it."""

    @field_validator("name")
    @classmethod
    def _no_id(cls, name: str) -> str:
        if name.startswith(("wgt_", "job_")):
            raise ValueError("name must not start with wgt_ or job_, the prefixes of ids")
        return name


class WeightsEncoder(BaseModel):
    """Encoder that weights fit, and what jobs of them train."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """`encoder.name` of a job."""
    channels: int
    """Input channels. Weights for one fit three channels, and the reverse; all others need a
    dataset with as many.
    """
    stem: str | None
    """`encoder.stem` of a job; null for an encoder without a choice."""
    patch_px: int | None
    """`encoder.patch_px` of a job; null for an encoder without patches."""
    side_px: int | None
    """Side in px of the images that the positions of a ViT are for; null for others. Positions are
    resampled for other sides.
    """

    @classmethod
    def of(cls, fitting: FittingEncoder) -> "WeightsEncoder":
        """Return the encoder with the settings that it has."""
        encoder = fitting.encoder
        return cls(
            name=encoder.name,
            channels=filled(encoder.channels),
            stem=encoder.stem if encoder.has_stem else None,
            patch_px=encoder.patch_px,
            side_px=fitting.side_px,
        )


class Weights(BaseModel):
    """Weights to begin jobs with."""

    model_config = response_config(examples.WEIGHTS)

    id: str
    """Unique id; never changes."""
    object: Literal["weights"] = "weights"
    """Object type."""
    name: str
    """Name for `init_from`."""
    status: Literal["received", "failed", "ready"]
    """`received`: waiting for its upload; `failed`: the upload was no file of weights; `ready`: can
    be used.
    """
    status_reason: StatusReason | None
    """Reason why it failed."""
    created_at: float
    """Seconds since 1970."""
    size_bytes: int | None
    """Size of the file, if known."""
    received_bytes: int
    """Bytes of the upload received so far."""
    sha256: str | None
    """sha256 of the file, if known."""
    tensors: int
    """Number of tensors, when ready."""
    parameters: int
    """Number of values in all tensors, when ready."""
    encoder: WeightsEncoder | None
    """Encoder of a job that begins with them and states none. Null if they fit none, and until they
    are ready.
    """

    @classmethod
    def of(
        cls, record: WeightsRecord, *, received_bytes: int, encoder: WeightsEncoder | None
    ) -> "Weights":
        """Return weights of the library; `received_bytes` are those on the disk."""
        return cls(
            id=record.id,
            name=record.name,
            status=record.status,
            status_reason=_status_reason(record),
            created_at=record.created_at_s,
            size_bytes=record.size_bytes,
            received_bytes=received_bytes,
            sha256=record.sha256,
            tensors=record.tensors,
            parameters=record.parameters,
            encoder=encoder,
        )


def _status_reason(record: WeightsRecord) -> StatusReason | None:
    if record.status != "failed":
        return None
    hint = "Upload another file to them, or delete them."
    return StatusReason(code="invalid", message=record.reason, hint=hint)


class WeightsList(Listing):
    """Weights, newest first."""

    model_config = response_config(examples.listing(examples.WEIGHTS, examples.WEIGHTS["id"]))

    data: list[Weights]
    """The weights."""
