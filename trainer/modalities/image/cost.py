"""Cost of the image encoders and of views. Loads no tensors.

The numbers are counted from the layers: multiply-adds and stored activations of one forward pass of
one image, both proportional to the area of the image. tests/contract/test_memory_estimate.py holds
them to the tensors that are alive at the peak of a step.
"""

from dataclasses import dataclass
from math import ceil

from trainer.modalities.cost import RowCost
from trainer.modalities.image.encoders.patches import VIT_SHAPES
from trainer.modalities.image.encoders.stems import has_cifar_stem
from trainer.modalities.image.spec import image_encoder, resolved_views
from trainer.schema.events import DatasetFacts
from trainer.spec.resolved import ResolvedSpec
from trainer.spec.rules import filled

VIEW_CHUNK_BYTES_GPU = 1 << 29
"""Bytes of the pixels in fp32 that views are made of at once on a GPU."""
COLOUR_COPIES = 3.7
"""Views in fp32 that are alive while colours change."""
HEAD_DIM = 128
"""Width of the embeddings of the heads that are counted."""
NOISE_COPIES = 7.3
"""Views in fp32 that are alive while noise is drawn: the integers of Philox take most."""
JPEG_ASPECT = 4 / 3
"""Longer side of a usual photo, divided by its shorter side."""


@dataclass(frozen=True, slots=True)
class EncoderSize:
    """Cost of one encoder with a projection head of two layers."""

    parameters: int
    macs_per_px: float
    """Multiply-adds of a forward pass, for each pixel of the image."""
    activations_per_px: float
    """Values kept for the backward pass, for each pixel of the image."""
    kept_bytes_per_px: float
    """Bytes kept besides, in any precision: the view in fp32, the places of a stem's maximums
    (int64), and inputs of layer norms in fp32."""


# (encoder, stem) -> size. ResNet-18, -34, -50, -101 and -152: 1.81, 3.66, 4.09, 7.80 and 11.5 GMAC
# at 224 px, the wide ones 11.4 and 22.8, ConvNeXt-T 4.46. A stem for small images reduces the area
# 16 times less, that of a ConvNeXt 4 times. Activations are those that forward keeps, and what a
# forward pass without gradients holds besides at its widest stage.
SIZES: dict[tuple[str, str], EncoderSize] = {
    ("small", "auto"): EncoderSize(570_000, 23_900.0, 208.0, 6.0),
    ("resnet18", "imagenet"): EncoderSize(11_500_000, 36_200.0, 129.0, 44.0),
    ("resnet18", "cifar"): EncoderSize(11_500_000, 542_000.0, 1_400.0, 14.0),
    ("resnet34", "imagenet"): EncoderSize(21_600_000, 73_200.0, 179.0, 44.0),
    ("resnet34", "cifar"): EncoderSize(21_600_000, 1_130_000.0, 2_200.0, 14.0),
    ("resnet50", "imagenet"): EncoderSize(28_000_000, 81_500.0, 471.0, 44.0),
    ("resnet50", "cifar"): EncoderSize(28_000_000, 1_270_000.0, 7_120.0, 14.0),
    ("resnet101", "imagenet"): EncoderSize(47_000_000, 155_400.0, 675.0, 44.0),
    ("resnet101", "cifar"): EncoderSize(47_000_000, 2_451_000.0, 10_380.0, 14.0),
    ("resnet152", "imagenet"): EncoderSize(62_600_000, 229_400.0, 927.0, 44.0),
    ("resnet152", "cifar"): EncoderSize(62_600_000, 3_635_000.0, 14_410.0, 14.0),
    ("wide_resnet50_2", "imagenet"): EncoderSize(71_300_000, 227_100.0, 609.0, 44.0),
    ("wide_resnet50_2", "cifar"): EncoderSize(71_300_000, 3_598_000.0, 9_340.0, 14.0),
    ("wide_resnet101_2", "imagenet"): EncoderSize(129_300_000, 453_400.0, 881.0, 44.0),
    ("wide_resnet101_2", "cifar"): EncoderSize(129_300_000, 7_219_000.0, 13_700.0, 14.0),
    ("convnext_tiny", "imagenet"): EncoderSize(28_500_000, 88_780.0, 544.0, 249.0),
    ("convnext_tiny", "cifar"): EncoderSize(28_500_000, 354_300.0, 2_166.0, 960.0),
}
FEATURE_DIMS = {
    **{"small": 256, "convnext_tiny": 768},
    **{name: shape.width for name, shape in VIT_SHAPES.items()},
    **dict.fromkeys(("resnet50", "resnet101", "resnet152"), 2048),
    **dict.fromkeys(("wide_resnet50_2", "wide_resnet101_2"), 2048),
}
"""Widths of features that are not 512."""


def cost(spec: ResolvedSpec, facts: DatasetFacts) -> RowCost:
    """Return the cost of a resolved spec for one view."""
    views = resolved_views(spec)
    side_px = views.side_px
    size, area_px = encoder_size(spec), side_px * side_px
    height, width = _window_px(spec, facts)
    window_values = facts.channels * max(height * width, area_px)
    has_noise = max(views.noise_p, views.of_second().noise_p) > 0.0
    view_copies = NOISE_COPIES if has_noise else COLOUR_COPIES
    return RowCost(
        parameters=size.parameters,
        macs=size.macs_per_px * area_px,
        activations=size.activations_per_px * area_px,
        view_values=facts.channels * area_px,
        kept_bytes=size.kept_bytes_per_px * area_px,
        feature_dim=FEATURE_DIMS.get(image_encoder(spec).name, 512),
        work_values=max(
            _cut_values((height, width), side_px=side_px, channels=facts.channels),
            view_copies * facts.channels * area_px,
        ),
        work_rows=max(1, VIEW_CHUNK_BYTES_GPU // (4 * window_values)),
        stored_bytes=_stored_bytes(facts),
        resident_bytes=facts.size_bytes if _is_uniform(facts) else 0,
    )


def _window_px(spec: ResolvedSpec, facts: DatasetFacts) -> tuple[int, int]:
    """Return height and width of the part of a row that a view is cut from on a GPU."""
    if _is_uniform(facts):
        return facts.side_px_min, facts.side_px_max
    low, high = resolved_views(spec).crop_ratio
    shorter_px = min(facts.stored_side_px, facts.side_px_max)
    sides_px = ceil(shorter_px / low), ceil(shorter_px * high)
    height, width = (min(facts.side_px_max, side_px) for side_px in sides_px)
    return height, width


def _cut_values(window_px: tuple[int, int], *, side_px: int, channels: int) -> float:
    """Return the values that exist while a view is cut from a window."""
    height, width = window_px
    view = channels * side_px * side_px
    # The window, its lines, the weights of lines for each channel, both matrices, and the view.
    lines = 2 * channels * height * side_px
    return channels * height * width + lines + side_px * (height + width) + view


def _stored_bytes(facts: DatasetFacts) -> float:
    """Return the mean bytes of a row's values."""
    value_bytes = facts.channels * (2 if facts.dtype == "uint16" else 1)
    if facts.stored_as == "pixels":
        return facts.size_bytes / facts.rows
    return JPEG_ASPECT * facts.side_px_median**2 * value_bytes


def _is_uniform(facts: DatasetFacts) -> bool:
    """Return whether rows are one array, which stays on the device where it fits."""
    return facts.same_size and facts.stored_as == "pixels"


def encoder_size(spec: ResolvedSpec) -> EncoderSize:
    """The size of the encoder that a resolved spec names."""
    encoder = image_encoder(spec)
    name, side_px = encoder.name, resolved_views(spec).side_px
    if name == "small":
        return SIZES["small", "auto"]
    if encoder.is_vit:
        patch_px, channels = filled(encoder.patch_px), filled(encoder.channels)
        return vit_size(name, side_px=side_px, patch_px=patch_px, channels=channels)
    return SIZES[name, "cifar" if has_cifar_stem(encoder, side_px=side_px) else "imagenet"]


KEPT_VALUES, KEPT_BYTES, WORK_VALUES = 14, 8, 12
"""Sizes of a ViT, in widths per token. A block keeps what goes into its products, attention and
GELU, and in fp32 what goes into its two norms. Without gradients its widest part is the MLP."""


def vit_size(name: str, *, side_px: int, patch_px: int, channels: int) -> EncoderSize:
    """Return the size of a ViT on images of one side: attention grows as its fourth power."""
    width, _, depth = VIT_SHAPES[name]
    patches, area_px = (side_px // patch_px) ** 2, side_px * side_px
    tokens = patches + 1
    projection = channels * patch_px**2 * width
    block = 12 * width**2 + 13 * width
    head = width * width + width * (1 + HEAD_DIM) + HEAD_DIM
    values = tokens * width * (depth * KEPT_VALUES + WORK_VALUES)
    return EncoderSize(
        parameters=depth * block + projection + (tokens + 4) * width + head,
        macs_per_px=(patches * projection + depth * tokens * width * (12 * width + 2 * tokens))
        / area_px,
        activations_per_px=channels + values / area_px,
        kept_bytes_per_px=4 * channels + tokens * width * (depth * KEPT_BYTES + 4) / area_px,
    )
