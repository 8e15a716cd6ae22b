"""The files that say how to build the network and how to prepare a row for it."""

from pathlib import Path

from trainer.exports.atomic_folder import link
from trainer.exports.base import Export, write_file
from trainer.modalities.outputs import Link, outputs_of


def files(export: Export) -> dict[str, str]:
    """Return the files of the network and of its input."""
    return outputs_of(export.spec).files(export)


def write(export: Export, folder: Path) -> None:
    """Write the files."""
    for name, content in outputs_of(export.spec).contents(export):
        (folder / name).parent.mkdir(exist_ok=True)
        if isinstance(content, Link):
            link(folder / content.name, folder / name)
        else:
            write_file(folder, name, content)


def network(export: Export) -> dict[str, bytes]:
    """Return the files that any weights of the run need: they do not depend on the weights."""
    return outputs_of(export.spec).network(export)
