"""What a child says it wrote, checked against the disk before any pointer moves to it."""

import shutil
from pathlib import Path

from trainer.errors import StorageError
from trainer.events import Checkpointed, FileRecord, Published
from trainer.file_names import UPLOAD
from trainer.files import MANIFEST, sha256_of


def inside(root: Path, relative: str) -> Path:
    """`root / relative`, refused if it leads out of `root`. Raises StorageError."""
    path = root / relative
    if not path.resolve().is_relative_to(root.resolve()):
        raise StorageError(f"{relative!r} leads out of {root.name}.")
    return path


def verify(out: Path, published: Published) -> Path:
    """The folder of `published`, when every file in it has the size and hash it was said to have.

    Raises StorageError and names the first file that differs.
    """
    folder = inside(out, published.folder)
    for file in published.files:
        path = inside(folder, file.name)
        if not _is(path, file):
            raise StorageError(f"{published.folder}/{file.name} is not what the run wrote.")
    return folder


def is_whole(out: Path, checkpoint: Checkpointed) -> bool:
    """Whether the manifest of a checkpoint is on the disk as it was announced."""
    try:
        manifest = inside(out, checkpoint.path) / MANIFEST
        return sha256_of(manifest) == checkpoint.manifest_sha256
    except (OSError, StorageError):
        return False


def forget_checkpoints(job: Path, *, keep: Path | None) -> None:
    """After success: remove the checkpoints of a job, all but the newest.

    The newest stays because it holds what no artifact does (key encoder, negatives, optimizer),
    at the price of one checkpoint; older ones can only repeat work that is done.
    """
    for folder in job.glob("attempts/*/checkpoints/*"):
        if keep is None or folder.resolve() != keep.resolve():
            shutil.rmtree(folder, ignore_errors=True)


def forget_upload(dataset: Path) -> None:
    """Remove the uploaded bytes of a dataset whose pack is ready."""
    (dataset / UPLOAD).unlink(missing_ok=True)


def _is(path: Path, file: FileRecord) -> bool:
    try:
        return path.stat().st_size == file.size_bytes and sha256_of(path) == file.sha256
    except OSError:
        return False
