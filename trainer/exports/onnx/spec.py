"""The export for ONNX runtimes. Loads no tensors."""

from trainer.spec.job import JobSpec

PACKAGES = ("onnx", "onnxscript")
"""Packages that torch writes it with."""
NEEDS = "image"
"""Modality whose encoders it takes."""


def refusal(_spec: JobSpec) -> str | None:
    """Return None: every encoder of images can be exported."""
    return None
