"""The export for torchvision. Loads no tensors."""

from trainer.modalities.registry import part_of
from trainer.spec.job import JobSpec

NEEDS = "image"
"""Modality whose encoders it takes."""


def refusal(spec: JobSpec) -> str | None:
    """Return why a job cannot have it: torchvision has no such network."""
    reason: str | None = part_of(NEEDS, "package_networks").torchvision_refusal(spec)
    return reason
