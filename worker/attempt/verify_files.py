"""Checks of what a child says it wrote against the disk, before any pointer moves to it."""

from pathlib import Path

from trainer.schema.artifact_names import is_artifact_name
from trainer.schema.errors import StorageError
from trainer.schema.events import Checkpointed, FileRecord, Published
from trainer.util.atomic_files import MANIFEST, sha256_of


def inside(root: Path, relative: str) -> Path:
    """Return `root / relative`. Raises StorageError if it leads out of `root`."""
    path = root / relative
    if not path.resolve().is_relative_to(root.resolve()):
        raise StorageError(f"{relative!r} leads out of {root.name}.")
    return path


def verify_published(out: Path, published: Published) -> Path:
    """Return the folder of `published` once every file in it has the stated size and hash.

    Raises StorageError and names the first file that differs.
    """
    folder = inside(out, published.folder)
    for file in published.files:
        path = inside(folder, file.name)
        if not is_artifact_name(file.name):
            raise StorageError(f"{file.name!r} cannot be the name of a file to download.")
        if not _is_intact(path, file):
            raise StorageError(f"{published.folder}/{file.name} is not what the run wrote.")
    return folder


def is_checkpoint_whole(out: Path, checkpoint: Checkpointed) -> bool:
    """Return whether the manifest on the disk is the one that was announced."""
    try:
        manifest = inside(out, checkpoint.path) / MANIFEST
        return sha256_of(manifest) == checkpoint.manifest_sha256
    except (OSError, StorageError):
        return False


def _is_intact(path: Path, file: FileRecord) -> bool:
    try:
        return path.stat().st_size == file.size_bytes and sha256_of(path) == file.sha256
    except OSError:
        return False
