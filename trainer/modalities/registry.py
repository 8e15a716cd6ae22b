"""The modalities by name. A new one is a folder here, and its name in `MODALITIES`.

Whatever it declares is found in its folder by name: `ViewsSpec` and `EncoderSpec` in `spec.py`,
RULES, `settle`, `check`, `check_alike` and `warnings` in `defaults.py`, what weights fit in
`starting_weights.py`, `cost` in `cost.py`, ways to make a job faster in `advice.py`, `MODALITY` in
`modality.py`, `INGEST` in `ingest.py`, `OUTPUTS` in `outputs.py`, `UNPACKED` in `unpacked.py`.
Loads no tensors.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Union, cast

from pydantic import Discriminator, Tag

from trainer.modalities.spec import AnyEncoderSpec, AnyViewsSpec

MODALITIES = ("image",)
DEFAULT = "image"


def part_of(name: str, part: str) -> ModuleType:
    """Return a module of a modality, such as `spec` or `modality`."""
    return import_module(f"trainer.modalities.{name}.{part}")


def _modality_of_views(value: object) -> object:
    """Return the modality of views: by `name`, which those of images have never had."""
    if isinstance(value, dict):
        return value.get("name", DEFAULT)
    return getattr(value, "modality", None)


def _modality_of_encoder(value: object) -> object:
    """Return the modality that has an encoder of this name, or the default one to refuse it."""
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    for modality in MODALITIES:
        names = part_of(modality, "spec").ENCODER_NAMES
        if name in names:
            return modality
    return DEFAULT


def _union(member: str, modality_of: Any) -> Any:  # noqa: ANN401 - pydantic reads annotations
    """Return the annotation of one member of all modalities' `spec.py`, told apart at run time."""
    members = {name: getattr(part_of(name, "spec"), member) for name in MODALITIES}
    if len(members) == 1:
        return members[DEFAULT]
    tagged = tuple(Annotated[kind, Tag(name)] for name, kind in members.items())
    return Annotated[Union[tagged], Discriminator(modality_of)]  # noqa: UP007 - of a tuple


if TYPE_CHECKING:
    ViewsSpec = AnyViewsSpec
    EncoderSpec = AnyEncoderSpec
else:
    ViewsSpec = _union("ViewsSpec", _modality_of_views)
    EncoderSpec = _union("EncoderSpec", _modality_of_encoder)


def default_views(modality: str = DEFAULT) -> AnyViewsSpec:
    """Return the views of a job that names none."""
    return cast(AnyViewsSpec, part_of(modality, "spec").ViewsSpec())


def default_encoder(modality: str = DEFAULT) -> AnyEncoderSpec:
    """Return the encoder of a job that names none."""
    return cast(AnyEncoderSpec, part_of(modality, "spec").EncoderSpec())
