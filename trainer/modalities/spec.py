"""Bases of what every modality declares: its views and its encoders. Loads no tensors."""

from typing import Annotated, ClassVar

from pydantic import Field

from trainer.schema.base import Record


class AnyViewsSpec(Record):
    """Augmentation settings of some modality."""

    modality: ClassVar[str]
    size_fields: ClassVar[tuple[str, ...]] = ("count",)
    """Fields that decide how long a step takes."""

    count: Annotated[int, Field(ge=2, le=16)] = 2
    """Views of each row. More than two: `simclr`, `supcon`, `triplet`, `siamese`, `byol` and
    `vicreg`."""

    @property
    def is_small(self) -> bool:
        """True where rows are so small that the authors' CIFAR-10 recipes are the model."""
        return False

    @property
    def size(self) -> str:
        """Size of a view in words, such as `32 px`."""
        return ""


class AnyEncoderSpec(Record):
    """Architecture settings of some modality."""

    modality: ClassVar[str]
    name: str

    @property
    def is_quick(self) -> bool:
        """True for an encoder for short runs, which needs more and longer steps."""
        return False

    @property
    def has_batch_norm(self) -> bool:
        """True if rows of a batch are normalized together."""
        return True
