"""Encoder factory: build a network by name."""

from functools import partial

from torch import nn

from trainer.accel.ops import Accelerator, use_matmul_convs
from trainer.modalities.image.encoders.patches import default_patch_px
from trainer.modalities.image.encoders.small_convnet import SmallEncoder
from trainer.modalities.image.encoders.spec import EncoderSpec
from trainer.modalities.image.encoders.stems import has_cifar_stem
from trainer.modalities.image.encoders.vit import build_vit
from trainer.modalities.image.spec import image_encoder, resolved_views
from trainer.nn.split_batchnorm import Norm, SplitBatchNorm2d
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
    if spec.is_vit:
        patch_px = spec.patch_px or default_patch_px(side_px)
        return build_vit(spec, side_px=side_px, patch_px=patch_px, channels=channels)
    norm = partial(SplitBatchNorm2d, splits=bn_splits, accelerator=accelerator)
    if spec.name == "small":
        return use_matmul_convs(SmallEncoder(norm, channels=channels))
    return use_matmul_convs(_torchvisions(spec, side_px=side_px, norm=norm, channels=channels))


def _torchvisions(spec: EncoderSpec, *, side_px: int, norm: Norm, channels: int) -> nn.Module:
    """Build a network of torchvision, which is slow to load."""
    is_small = has_cifar_stem(spec, side_px=side_px)
    if not spec.has_batch_norm:
        from trainer.modalities.image.encoders.convnext import build_convnext  # noqa: PLC0415

        return build_convnext(spec.name, is_small=is_small, channels=channels)
    from trainer.modalities.image.encoders.resnet import Stem, build_resnet  # noqa: PLC0415

    cifar: Stem = "cifar" if spec.stem_init == "kaiming" else "cifar-torch"
    stem: Stem = cifar if is_small else "imagenet"
    return build_resnet(spec.name, stem=stem, norm=norm, channels=channels)
