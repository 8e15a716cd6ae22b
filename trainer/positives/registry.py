"""The ways to choose positives, by name. A new one is a folder here, and its spec in the union.

Whatever else one declares is found in its folder by its name: `check` in `defaults.py`, and
`partners` in `partners.py`. Loads no tensors.
"""

from importlib import import_module
from types import ModuleType
from typing import Annotated

from pydantic import Tag

from trainer.positives.label.spec import LabelSpec
from trainer.positives.neighbour.spec import NeighbourSpec
from trainer.positives.pair.spec import PairSpec
from trainer.positives.self.spec import SelfSpec
from trainer.schema.base import by_name, tags_of

DEFAULT = "self"
_PositivesMember = (
    Annotated[SelfSpec, Tag("self")]
    | Annotated[LabelSpec, Tag("label")]
    | Annotated[NeighbourSpec, Tag("neighbour")]
    | Annotated[PairSpec, Tag("pair")]
)
PositivesSpec = Annotated[
    _PositivesMember, by_name(DEFAULT, kind="positives", names=tags_of(_PositivesMember))
]


def positives_names() -> tuple[str, ...]:
    """Return the names of all ways to choose positives."""
    return tags_of(_PositivesMember)


def part_of(name: str, part: str) -> ModuleType:
    """Return a module of a way to choose positives: `spec`, `defaults` or `partners`."""
    return import_module(f"trainer.positives.{name}.{part}")
