"""The exporters in the order in which they write. A new one is a module here, and its name."""

from importlib import import_module
from typing import cast

from trainer.exports.base import Export, Exporter

EXPORTERS = (
    "weights",
    "loading_config",
    "embeddings",
    "embedding_map",
    "model_card.exporter",
    "run_profile",
)
"""Modules of `trainer.exports`."""


def exporters() -> tuple[Exporter, ...]:
    """Return all exporters."""
    return tuple(cast(Exporter, import_module(f"trainer.exports.{name}")) for name in EXPORTERS)


def files_of(export: Export) -> dict[str, str]:
    """Return the files of all exporters, each with its meaning."""
    return {
        name: meaning
        for exporter in exporters()
        for name, meaning in exporter.files(export).items()
    }
