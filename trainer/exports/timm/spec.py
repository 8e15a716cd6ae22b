"""The export for timm and Hugging Face. Loads no tensors."""

from trainer.exports.package_networks import RESNETS, network_refusal
from trainer.modalities.image.encoders.spec import FAMILIES
from trainer.spec.job import JobSpec


def refusal(spec: JobSpec) -> str | None:
    """Return why a job cannot have it: timm has no such network."""
    names = (*RESNETS, *FAMILIES["convnext"], *FAMILIES["vit"])
    return network_refusal(spec, package="timm", names=names)
