"""The export for torchvision. Loads no tensors."""

from trainer.exports.spec import network_refusal
from trainer.modalities.image.spec import image_encoder
from trainer.spec.job import JobSpec

FAMILIES = ("resnet", "wide_resnet", "convnext")
RGB = 3


def refusal(spec: JobSpec) -> str | None:
    """Return why a job cannot have it: torchvision has no such network."""
    channels = image_encoder(spec).channels
    if channels != RGB:
        return f"torchvision's networks take {RGB} channels, this encoder {channels}; leave it out"
    return network_refusal(spec, package="torchvision", families=FAMILIES)
