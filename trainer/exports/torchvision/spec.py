"""The export for torchvision. Loads no tensors."""

from trainer.exports.package_networks import RESNETS, network_refusal
from trainer.modalities.image.defaults import RGB
from trainer.modalities.image.encoders.spec import FAMILIES
from trainer.modalities.image.spec import image_encoder
from trainer.spec.job import JobSpec


def refusal(spec: JobSpec) -> str | None:
    """Return why a job cannot have it: torchvision has no such network."""
    names = (*RESNETS, *FAMILIES["convnext"])
    refused = network_refusal(spec, package="torchvision", names=names)
    if refused is not None:
        return refused
    channels = image_encoder(spec).channels
    if channels != RGB:
        return f"its networks take {RGB} channels, this encoder has {channels}; leave it out"
    return None
