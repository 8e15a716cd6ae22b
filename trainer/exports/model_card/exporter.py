"""The model card."""

from pathlib import Path

from trainer.exports.base import Export, write_file
from trainer.exports.model_card.card import card
from trainer.exports.registry import files_of

MODALITY = "image"


def files(_export: Export) -> dict[str, str]:
    """Return nothing: the card does not list itself."""
    return {}


def write(export: Export, folder: Path) -> None:
    """Write the card with a list of all files."""
    write_file(folder, "README.md", card(export, files=files_of(export)).encode())
