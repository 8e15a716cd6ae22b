"""Names and shapes of the weights of every encoder, known without building it. No tensors."""

from typing import NamedTuple

from trainer.modalities.image.encoders.patches import VIT_SHAPES
from trainer.modalities.image.encoders.spec import EncoderSpec
from trainer.modalities.image.encoders.stems import has_cifar_stem
from trainer.spec.rules import filled

Shapes = dict[str, tuple[int, ...]]
"""Name in the state dict -> shape, in its order."""


class ResNetShape(NamedTuple):
    """Blocks of a ResNet."""

    depths: tuple[int, ...]
    """Blocks per stage."""
    width: int = 64
    """Channels of a block's 3x3 convolution in the first stage."""
    is_bottleneck: bool = True
    """True if a block has three convolutions and four times as many channels behind it."""


RESNETS = {
    "resnet18": ResNetShape((2, 2, 2, 2), is_bottleneck=False),
    "resnet34": ResNetShape((3, 4, 6, 3), is_bottleneck=False),
    "resnet50": ResNetShape((3, 4, 6, 3)),
    "resnet101": ResNetShape((3, 4, 23, 3)),
    "resnet152": ResNetShape((3, 8, 36, 3)),
    "wide_resnet50_2": ResNetShape((3, 4, 6, 3), width=128),
    "wide_resnet101_2": ResNetShape((3, 4, 23, 3), width=128),
}
"""Table 1 of arXiv:1512.03385; the wide ones are those of arXiv:1605.07146."""
CONVNEXTS = {"convnext_tiny": ((96, 192, 384, 768), (3, 3, 9, 3))}
"""Channels and blocks of each stage: section 2.2 of arXiv:2201.03545."""
SMALL_STEM_PX, STEM_PX = 2, 4
"""Kernel and stride of a ConvNeXt's first layer: for small images, and the paper's."""
SMALL_LAYERS: tuple[tuple[str, int, int, int], ...] = (
    ("1", 3, 32, 1),
    ("2", 32, 64, 2),
    ("3", 64, 128, 2),
    ("4", 128, 128, 1),
    ("5", 128, 256, 2),
)
"""Name, channels in and out, and stride of the small encoder's 3x3 convolutions.

At 32 px: 24.5 million multiply-adds, 0.54 million parameters. The first layer keeps the full side,
for images of 8 px; the other strides make it cheap before it is wide.
"""


def parameter_shapes(spec: EncoderSpec, *, side_px: int) -> Shapes:
    """Return the names and shapes in the state dict of an encoder with every value."""
    channels = filled(spec.channels)
    if spec.is_vit:
        patch_px = filled(spec.patch_px)
        return _vit(spec.name, across=side_px // patch_px, patch_px=patch_px, channels=channels)
    if spec.name == "small":
        return _small(channels)
    is_small = has_cifar_stem(spec, side_px=side_px)
    if spec.name in CONVNEXTS:
        return _convnext(spec.name, STEM_PX if not is_small else SMALL_STEM_PX, channels)
    return _resnet(RESNETS[spec.name], kernel_px=3 if is_small else 7, channels=channels)


def _affine(name: str, *shape: int) -> Shapes:
    """Return weight and bias of a layer."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _batch_norm(name: str, width: int) -> Shapes:
    statistics: Shapes = {f"{name}.running_mean": (width,), f"{name}.running_var": (width,)}
    return _affine(name, width) | statistics | {f"{name}.num_batches_tracked": ()}


def _small(channels: int) -> Shapes:
    shapes: Shapes = {}
    for name, width_in, width_out, _ in SMALL_LAYERS:
        taken = channels if name == "1" else width_in
        shapes |= {f"conv{name}.weight": (width_out, taken, 3, 3)}
        shapes |= _batch_norm(f"bn{name}", width_out)
    return shapes


def _resnet(shape: ResNetShape, *, kernel_px: int, channels: int) -> Shapes:
    shapes: Shapes = {"conv1.weight": (64, channels, kernel_px, kernel_px)}
    shapes |= _batch_norm("bn1", 64)
    width_in = 64
    for stage, depth in enumerate(shape.depths):
        inner = shape.width * 2**stage
        width_out = 64 * 2**stage * (4 if shape.is_bottleneck else 1)
        for block in range(depth):
            name = f"layer{stage + 1}.{block}"
            taken = width_in if block == 0 else width_out
            shapes |= _resnet_block(name, (taken, inner, width_out), shape.is_bottleneck)
            if block == 0 and (stage or width_in != width_out):
                shapes |= {f"{name}.downsample.0.weight": (width_out, width_in, 1, 1)}
                shapes |= _batch_norm(f"{name}.downsample.1", width_out)
        width_in = width_out
    return shapes


def _resnet_block(name: str, widths: tuple[int, int, int], is_bottleneck: bool) -> Shapes:
    """Return the convolutions of a block of channels in, inside and out, each with its norm."""
    width_in, inner, width_out = widths
    layers = [(width_in, width_out, 3), (width_out, width_out, 3)]
    if is_bottleneck:
        layers = [(width_in, inner, 1), (inner, inner, 3), (inner, width_out, 1)]
    shapes: Shapes = {}
    for number, (taken, given, kernel_px) in enumerate(layers, 1):
        shapes |= {f"{name}.conv{number}.weight": (given, taken, kernel_px, kernel_px)}
        shapes |= _batch_norm(f"{name}.bn{number}", given)
    return shapes


def _convnext(name: str, patch_px: int, channels: int) -> Shapes:
    widths, depths = CONVNEXTS[name]
    shapes = _affine("features.0.0", widths[0], channels, patch_px, patch_px)
    shapes |= _affine("features.0.1", widths[0])
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        if stage:
            shapes |= _affine(f"features.{2 * stage}.0", widths[stage - 1])
            shapes |= _affine(f"features.{2 * stage}.1", width, widths[stage - 1], 2, 2)
        for block in (f"features.{2 * stage + 1}.{number}" for number in range(depth)):
            shapes |= {f"{block}.layer_scale": (width, 1, 1)}
            shapes |= _affine(f"{block}.block.0", width, 1, 7, 7) | _affine(
                f"{block}.block.2", width
            )
            shapes |= _affine(f"{block}.block.3", 4 * width, width)
            shapes |= _affine(f"{block}.block.5", width, 4 * width)
    return shapes | _affine("classifier.0", widths[-1])


def _vit(name: str, *, across: int, patch_px: int, channels: int) -> Shapes:
    width, _, depth = VIT_SHAPES[name]
    shapes: Shapes = {"cls_token": (1, 1, width), "pos_embed": (1, across**2 + 1, width)}
    shapes |= _affine("patch_embed.proj", width, channels, patch_px, patch_px)
    for block in (f"blocks.{number}" for number in range(depth)):
        shapes |= _affine(f"{block}.norm1", width)
        shapes |= _affine(f"{block}.attn.qkv", 3 * width, width)
        shapes |= _affine(f"{block}.attn.proj", width, width)
        shapes |= _affine(f"{block}.norm2", width)
        shapes |= _affine(f"{block}.mlp.fc1", 4 * width, width)
        shapes |= _affine(f"{block}.mlp.fc2", width, 4 * width)
    return shapes | _affine("norm", width)
