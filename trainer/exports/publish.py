"""Write the files of a trained encoder.

Every file is a pure function of the run, except for the profile of a profiled run.
"""

from pathlib import Path

from trainer.exports.atomic_folder import atomic_folder, write_sums
from trainer.exports.base import Export
from trainer.exports.registry import exporters
from trainer.schema.events import Published

FOLDER = "artifacts"


def publish(export: Export, *, out: Path) -> Published:
    """Write `out/artifacts` whole or not at all, and name its files with size and sha256.

    Raises StorageError if the disk refuses, DivergedError if features are not finite.
    """
    with atomic_folder(out / FOLDER) as folder:
        for exporter in exporters(export):
            exporter.write(export, folder)
        files = write_sums(folder)
    return Published(folder=FOLDER, files=files)
