"""Write the files of a trained encoder.

Every file is a pure function of the run, except for the profile of a profiled run.
"""

from pathlib import Path

from trainer.exports.atomic_folder import atomic_folder, write_sums
from trainer.exports.base import Export
from trainer.exports.registry import exporters
from trainer.schema.artifact_names import NETWORK
from trainer.schema.events import Published
from trainer.util.atomic_files import make_folder, replace_file

FOLDER = "artifacts"


def write_network(export: Export, *, out: Path) -> None:
    """Write `out/network`: what is needed beside the weights of any checkpoint of the run.

    It is there from the first step on, so that the encoder of a checkpoint can be downloaded
    without building the network. Raises StorageError.
    """
    for exporter in exporters(export):
        files: dict[str, bytes] = exporter.network(export) if hasattr(exporter, "network") else {}
        for name, data in files.items():
            make_folder(out / NETWORK)
            replace_file(out / NETWORK / name, data)


def publish(export: Export, *, out: Path) -> Published:
    """Write `out/artifacts` whole or not at all, and name its files with size and sha256.

    Raises StorageError if the disk refuses, DivergedError if features are not finite.
    """
    with atomic_folder(out / FOLDER) as folder:
        for exporter in exporters(export):
            exporter.write(export, folder)
        files = write_sums(folder)
    return Published(folder=FOLDER, files=files)
