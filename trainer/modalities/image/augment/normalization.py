"""The mean and std that views are normalized by. Loads no tensors."""

from typing import NamedTuple

from trainer.modalities.image.augment.spec import ViewsSpec
from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts

STD_MIN = 1e-3
"""The least divisor: a channel that never changes would divide by zero."""


class Normalization(NamedTuple):
    """One value for each channel, for pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Constants of torchvision's pretrained models and of the MoCo authors' main_moco.py."""


def normalization(spec: ViewsSpec, facts: DatasetFacts) -> Normalization:
    """Return what `views.normalize` means for a dataset. Raises SpecError."""
    if spec.normalize == "dataset":
        return Normalization(facts.mean, tuple(max(value, STD_MIN) for value in facts.std))
    if spec.normalize == "imagenet":
        stated = IMAGENET
    else:
        stated = Normalization(spec.normalize.mean, spec.normalize.std)
    if len(stated.mean) != len(facts.mean):
        detail = f"it has {len(stated.mean)} channels, but the dataset has {len(facts.mean)}"
        raise SpecError(detail, field="views.normalize")
    return stated
