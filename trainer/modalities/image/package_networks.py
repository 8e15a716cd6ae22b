"""Encoders that other packages have under the same keys. Loads no tensors."""

from trainer.modalities.image.defaults import RGB
from trainer.modalities.image.encoders.spec import FAMILIES
from trainer.modalities.image.encoders.stems import has_cifar_stem
from trainer.modalities.image.spec import image_encoder, image_views
from trainer.spec.job import JobSpec
from trainer.spec.rules import filled

RESNETS = (*FAMILIES["basic block"], *FAMILIES["bottleneck"])


def timm_refusal(spec: JobSpec) -> str | None:
    """Return why timm's own network does not fit the encoder of a job; None if it does."""
    names = (*RESNETS, *FAMILIES["convnext"], *FAMILIES["vit"])
    return _refusal(spec, package="timm", names=names)


def torchvision_refusal(spec: JobSpec) -> str | None:
    """Return why torchvision's own network does not fit the encoder of a job; None if it does."""
    names = (*RESNETS, *FAMILIES["convnext"])
    refused = _refusal(spec, package="torchvision", names=names)
    if refused is not None:
        return refused
    channels = image_encoder(spec).channels
    if channels != RGB:
        return f"its networks take {RGB} channels, this encoder has {channels}; leave it out"
    return None


def _refusal(spec: JobSpec, *, package: str, names: tuple[str, ...]) -> str | None:
    """Return why a package's network does not fit; `names`: encoders that have its keys."""
    name = spec.encoder.name
    if name not in names:
        return f"{package} has no network with the keys of `{name}`; leave it out"
    encoder, side_px = image_encoder(spec), filled(image_views(spec).side_px)
    if not encoder.is_vit and has_cifar_stem(encoder, side_px=side_px):
        return (
            f"{package} lacks the first layer for small images, which `auto` chooses up to 64 px; "
            "set encoder.stem to imagenet, or leave it out"
        )
    return None
