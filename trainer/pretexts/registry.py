"""The pretexts by name. A new one is a folder here, and its spec in `PretextSpec`.

Whatever else a pretext declares is found in its folder by its name: TITLE, CHANCE, SIGNALS and
TEST_SIGNALS in `spec.py`, `check` in `defaults.py`, `build` in `pretext.py`. Loads no tensors.
"""

from importlib import import_module
from types import ModuleType
from typing import Annotated

from pydantic import Tag

from trainer.pretexts.rotation.spec import RotationSpec
from trainer.schema.base import by_name
from trainer.schema.signals import Signal

NAMES = ("rotation",)
PretextSpec = Annotated[
    Annotated[RotationSpec, Tag("rotation")], by_name("", kind="pretext", names=NAMES)
]


def pretext_names() -> tuple[str, ...]:
    """Return the names of all pretexts."""
    return NAMES


def part_of(name: str, part: str) -> ModuleType:
    """Return a module of a pretext: `spec`, `defaults` or `pretext`."""
    return import_module(f"trainer.pretexts.{name}.{part}")


TEST_SIGNALS: dict[str, Signal] = {
    signal: meaning
    for name in pretext_names()
    for signal, meaning in part_of(name, "spec").TEST_SIGNALS.items()
}
"""Signals of all pretexts on images that are not trained on."""
SIGNALS: dict[str, Signal] = {
    signal: meaning
    for name in pretext_names()
    for table in ("SIGNALS", "TEST_SIGNALS")
    for signal, meaning in getattr(part_of(name, "spec"), table).items()
}
"""Signals of all pretexts."""
