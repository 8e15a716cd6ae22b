"""The model card."""

from pathlib import Path

from trainer.exports.base import Export, write_file
from trainer.exports.model_card.card import card
from trainer.exports.registry import chosen_texts, files_of


def files(_export: Export) -> dict[str, str]:
    """Return nothing: the card does not list itself."""
    return {}


def write(export: Export, folder: Path) -> None:
    """Write the card with a list of all files."""
    text = card(export, files=files_of(export), chosen=chosen_texts(export))
    write_file(folder, "README.md", text.encode())
