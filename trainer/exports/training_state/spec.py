"""The export of what is trained beside the encoder. Loads no tensors."""

from trainer.spec.job import JobSpec


def refusal(_spec: JobSpec) -> str | None:
    """Return None: every method has a state."""
    return None
