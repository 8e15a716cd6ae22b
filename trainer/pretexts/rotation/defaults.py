"""Checks of rotation. Loads no tensors."""

from trainer.pretexts.rotation.spec import RotationSpec
from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts
from trainer.spec.job import JobSpec

TURNING = ("quarter_turn_p", "vertical_flip_p")
"""Augmentations that turn an image upside down themselves."""


def check(spec: JobSpec, facts: DatasetFacts, own: RotationSpec, *, field: str) -> None:
    """Raise SpecError for augmentations that turn images themselves."""
    del facts, own
    for name in TURNING:
        if getattr(spec.views, name, 0.0):
            raise SpecError(
                f"rotation asks how an image was turned, and views.{name} turns images at random; "
                f"set views.{name} to 0, or leave rotation out",
                field=field,
                also=(f"views.{name}",),
            )
