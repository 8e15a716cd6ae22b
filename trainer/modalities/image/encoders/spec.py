"""Architecture and initialization of the encoder."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trainer.modalities.spec import AnyEncoderSpec

EncoderName = Literal["small", "resnet18", "resnet34", "resnet50"]


class EncoderSpec(AnyEncoderSpec):
    """The network to train and download."""

    modality: ClassVar[str] = "image"

    name: EncoderName = "resnet18"
    """`small` trains in minutes on two cores; the ResNets have torchvision's keys."""
    channels: Annotated[int, Field(ge=1, le=16)] | None = None
    """Input channels. Default: those of the dataset."""
    stem: Literal["auto", "cifar", "imagenet"] = "auto"
    """First layer of a ResNet: `cifar` is 3x3, stride 1, no pooling; `auto` uses it up to 64 px."""
    stem_init: Literal["kaiming", "torch"] = "kaiming"
    """Initialization of a `cifar` stem: like the other convolutions, or torch's default."""

    @property
    def is_quick(self) -> bool:
        """True for the small encoder."""
        return self.name == "small"


class ResolvedEncoderSpec(EncoderSpec):
    """The network with every value."""

    channels: int
