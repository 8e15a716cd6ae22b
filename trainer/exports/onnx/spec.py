"""The export for ONNX runtimes. Loads no tensors."""

from trainer.spec.job import JobSpec

PACKAGES = ("onnx", "onnxscript")
"""Packages that torch writes it with."""


def refusal(_spec: JobSpec) -> str | None:
    """Return None: every encoder can be exported."""
    return None
