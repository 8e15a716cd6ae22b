"""Architecture and initialization of the encoder."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trainer.modalities.spec import AnyEncoderSpec

EncoderName = Literal[
    "small",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "wide_resnet50_2",
    "wide_resnet101_2",
    "convnext_tiny",
    "vit_tiny",
    "vit_small",
    "vit_base",
]
FAMILIES: dict[str, tuple[EncoderName, ...]] = {
    "small": ("small",),
    "basic block": ("resnet18", "resnet34"),
    "bottleneck": ("resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2"),
    "convnext": ("convnext_tiny",),
    "vit": ("vit_tiny", "vit_small", "vit_base"),
}
"""Networks of one kind of block, the smallest first: it stands for the others in matrices."""


class EncoderSpec(AnyEncoderSpec):
    """The network to train and download."""

    modality: ClassVar[str] = "image"

    name: EncoderName = "resnet18"
    """`small` trains in minutes on two cores. ResNets and ConvNeXt have torchvision's keys, ViTs
    those of timm."""
    channels: Annotated[int, Field(ge=1, le=16)] | None = None
    """Input channels. Default: those of the dataset."""
    stem: Literal["auto", "cifar", "imagenet"] = "auto"
    """First layer of a ResNet or ConvNeXt. `cifar`, which `auto` uses up to 64 px, is 3x3 with
    stride 1 and no pooling, in a ConvNeXt 2x2 with stride 2."""
    stem_init: Literal["kaiming", "torch"] = "kaiming"
    """Initialization of a ResNet's `cifar` stem: as its other convolutions, or torch's default."""
    patch_px: Annotated[int, Field(ge=1, le=64)] | None = None
    """Side of a ViT's patches, in px; it divides that of the views. Default: about an eighth of it,
    at most 16."""
    positions: Literal["learned", "sin_cos"] | None = None
    """Positions of a ViT's patches: learned, or fixed sines and cosines. Default: `sin_cos` with
    MoCo v3, else `learned`."""
    patch_projection: Literal["learned", "frozen"] | None = None
    """First layer of a ViT: learned, or as it was drawn. Default: `frozen` with MoCo v3, else
    `learned`."""

    @property
    def is_quick(self) -> bool:
        """True for the small encoder."""
        return self.name == "small"

    @property
    def is_vit(self) -> bool:
        """True for a vision transformer."""
        return self.name in FAMILIES["vit"]

    @property
    def has_stem(self) -> bool:
        """True for a ResNet and a ConvNeXt, whose first layer is a choice."""
        return not self.is_vit and not self.is_quick

    @property
    def has_batch_norm(self) -> bool:
        """False for a ViT and a ConvNeXt, which normalize each image alone."""
        return not self.is_vit and self.name not in FAMILIES["convnext"]


class ResolvedEncoderSpec(EncoderSpec):
    """The network with every value."""

    channels: int
