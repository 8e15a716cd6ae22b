"""The exporters in the order in which they write. A new one is a module here, and its name."""

from importlib import import_module
from typing import cast

from trainer.exports.base import Export, Exporter
from trainer.exports.spec import part_of

EXPORTERS = (
    "weights",
    "classifier",
    "network_files",
    "best_weights",
    "embeddings",
    "embedding_map",
    "evaluation_report",
    "anomaly_sheet",
    "model_card.exporter",
    "run_profile",
)
"""Modules of `trainer.exports`. Those that a job asks for in `exports` follow them."""


def exporters(export: Export) -> tuple[Exporter, ...]:
    """Return the exporters of an export: the standard ones and those that the job asks for."""
    standard = (import_module(f"trainer.exports.{name}") for name in EXPORTERS)
    chosen = (part_of(name, "exporter") for name in export.spec.exports)
    return tuple(cast(Exporter, module) for module in (*standard, *chosen))


def chosen_texts(export: Export) -> tuple[str, ...]:
    """Return what the model card says of each export that the job asks for."""
    return tuple(part_of(name, "exporter").loading(export) for name in export.spec.exports)


def files_of(export: Export) -> dict[str, str]:
    """Return the files of all exporters, each with its meaning."""
    return {
        name: meaning
        for exporter in exporters(export)
        for name, meaning in exporter.files(export).items()
    }
