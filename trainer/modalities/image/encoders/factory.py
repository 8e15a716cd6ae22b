"""Encoder factory: build a network by name."""

from functools import partial

from torch import nn

from trainer.accel.ops import Accelerator, use_matmul_convs
from trainer.modalities.image.augment.spec import SMALL_SIDE_PX
from trainer.modalities.image.encoders.small_convnet import SmallEncoder
from trainer.modalities.image.encoders.spec import EncoderSpec
from trainer.modalities.image.spec import image_encoder, resolved_views
from trainer.nn.split_batchnorm import SplitBatchNorm2d
from trainer.spec.resolved import ResolvedSpec

RGB = 3
"""Channels of a spec without the field, as in jobs of older versions."""


def encoder_for(spec: ResolvedSpec, accelerator: Accelerator | None = None) -> nn.Module:
    """Return the encoder of a resolved job, with fresh weights from the global CPU generator."""
    return build_encoder(
        image_encoder(spec),
        side_px=resolved_views(spec).side_px,
        bn_splits=spec.method.batch_norm_groups,
        accelerator=accelerator,
    )


def build_encoder(
    spec: EncoderSpec, *, side_px: int, bn_splits: int = 1, accelerator: Accelerator | None = None
) -> nn.Module:
    """Build the encoder that `spec` names, with random weights from the global CPU generator.

    The result has `.feature_dim`. `bn_splits` > 1 computes batch norm in that
    many groups while training, by compiled code if there is an `accelerator`.
    """
    channels = spec.channels or RGB
    norm = partial(SplitBatchNorm2d, splits=bn_splits, accelerator=accelerator)
    if spec.name == "small":
        return use_matmul_convs(SmallEncoder(norm, channels=channels))
    from trainer.modalities.image.encoders.resnet import Stem, build_resnet  # noqa: PLC0415 - slow to load

    cifar: Stem = "cifar" if spec.stem_init == "kaiming" else "cifar-torch"
    stem: Stem = cifar if has_cifar_stem(spec, side_px=side_px) else "imagenet"
    return use_matmul_convs(build_resnet(spec.name, stem=stem, norm=norm, channels=channels))


def has_cifar_stem(spec: EncoderSpec, *, side_px: int) -> bool:
    """Return whether the first layer is 3x3 with stride 1 and no pooling."""
    if spec.stem == "auto":
        return side_px <= SMALL_SIDE_PX
    return spec.stem == "cifar"
