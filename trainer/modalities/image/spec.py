"""Settings of images. Loads no tensors."""

from typing import TYPE_CHECKING, get_args

from trainer.modalities.image.augment.spec import (
    ResolvedViewsSpec,
    SecondViewSpec,
    ViewsSpec,
)
from trainer.modalities.image.encoders.spec import FAMILIES, EncoderName, EncoderSpec

if TYPE_CHECKING:
    from trainer.spec.job import JobSpec
    from trainer.spec.resolved import ResolvedSpec

__all__ = [
    "ENCODER_NAMES",
    "FAMILIES",
    "EncoderSpec",
    "SecondViewSpec",
    "ViewsSpec",
    "image_encoder",
    "image_views",
    "resolved_views",
]

ENCODER_NAMES: tuple[str, ...] = get_args(EncoderName)


def image_views(spec: "JobSpec") -> ViewsSpec:
    """Return the views of a job on images. Raises TypeError for a job on other data."""
    if not isinstance(spec.views, ViewsSpec):
        raise TypeError(f"{type(spec.views).__name__} are no views of images")
    return spec.views


def image_encoder(spec: "JobSpec") -> EncoderSpec:
    """Return the encoder of a job on images. Raises TypeError for a job on other data."""
    if not isinstance(spec.encoder, EncoderSpec):
        raise TypeError(f"{type(spec.encoder).__name__} is no encoder of images")
    return spec.encoder


def resolved_views(spec: "ResolvedSpec") -> ResolvedViewsSpec:
    """Return the views of a resolved job on images. Raises TypeError for a job on other data."""
    if not isinstance(spec.views, ResolvedViewsSpec):
        raise TypeError(f"{type(spec.views).__name__} are no resolved views of images")
    return spec.views
