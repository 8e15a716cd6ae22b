"""The export for timm and Hugging Face. Loads no tensors."""

from trainer.exports.spec import network_refusal
from trainer.spec.job import JobSpec

FAMILIES = ("resnet", "wide_resnet", "vit")


def refusal(spec: JobSpec) -> str | None:
    """Return why a job cannot have it: timm has no such network."""
    return network_refusal(spec, package="timm", families=FAMILIES)
