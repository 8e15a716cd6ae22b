"""Cost of the image encoders. Loads no tensors.

The numbers are counted from the layers: multiply-adds and stored activations of one forward pass of
one image, both proportional to the area of the image.
"""

from dataclasses import dataclass

from trainer.modalities.cost import RowCost
from trainer.modalities.image.augment.spec import SMALL_SIDE_PX
from trainer.modalities.image.spec import image_encoder, resolved_views
from trainer.schema.events import DatasetFacts
from trainer.spec.resolved import ResolvedSpec


@dataclass(frozen=True, slots=True)
class EncoderSize:
    """Cost of one encoder."""

    parameters: int
    macs_per_px: float
    """Multiply-adds of a forward pass, for each pixel of the image."""
    activations_per_px: float
    """Values kept for the backward pass, for each pixel of the image."""


# (encoder, stem) -> size. ResNets: 1.81, 3.66 and 4.09 GMAC at 224 px; 0.555 at 32 px for the
# CIFAR stem of ResNet-18, whose strides reduce the area 16 times less.
SIZES: dict[tuple[str, str], EncoderSize] = {
    ("small", "auto"): EncoderSize(537_000, 23_900.0, 150.0),
    ("resnet18", "imagenet"): EncoderSize(11_200_000, 36_200.0, 100.0),
    ("resnet18", "cifar"): EncoderSize(11_200_000, 542_000.0, 1250.0),
    ("resnet34", "imagenet"): EncoderSize(21_300_000, 73_200.0, 150.0),
    ("resnet34", "cifar"): EncoderSize(21_300_000, 1_130_000.0, 1900.0),
    ("resnet50", "imagenet"): EncoderSize(23_500_000, 81_500.0, 440.0),
    ("resnet50", "cifar"): EncoderSize(23_500_000, 1_270_000.0, 6000.0),
}


def cost(spec: ResolvedSpec, facts: DatasetFacts) -> RowCost:
    """Return the cost of a resolved spec for one view."""
    side_px = resolved_views(spec).side_px
    size, area_px = encoder_size(spec), side_px * side_px
    return RowCost(
        parameters=size.parameters,
        macs=size.macs_per_px * area_px,
        activations=size.activations_per_px * area_px,
        view_values=facts.channels * area_px,
    )


def encoder_size(spec: ResolvedSpec) -> EncoderSize:
    """The size of the encoder that a resolved spec names."""
    encoder = image_encoder(spec)
    name, stem = encoder.name, encoder.stem
    if name == "small":
        return SIZES["small", "auto"]
    if stem == "auto":
        stem = "cifar" if resolved_views(spec).side_px <= SMALL_SIDE_PX else "imagenet"
    return SIZES[name, stem]
