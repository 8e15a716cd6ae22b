"""Removal of files that an attempt no longer needs."""

import shutil
from contextlib import suppress
from pathlib import Path

from trainer.schema.artifact_names import UPLOAD
from trainer.util.atomic_files import remove


def remove_partial_files(attempt: Path) -> None:
    """Remove the files that an ended attempt was still writing.

    The draft of a pack stays while it holds the only report of what was wrong with the files.
    """
    for path in list(attempt.rglob("*.tmp")):
        if "pack.tmp" not in path.relative_to(attempt).parts:
            with suppress(OSError):
                remove(path)


def remove_old_checkpoints(job: Path, *, keep: Path | None, best_step: int | None = None) -> None:
    """After success, remove all checkpoints of a job but `keep`, the newest, and the best.

    The newest stays because it holds what no artifact does (key encoder, negatives, optimizer),
    at the price of one checkpoint; older ones can only repeat work that is done.
    """
    for folder in job.glob("attempts/*/checkpoints/*"):
        is_best = folder.name.isdecimal() and int(folder.name) == best_step
        if not is_best and (keep is None or folder.resolve() != keep.resolve()):
            shutil.rmtree(folder, ignore_errors=True)


def remove_upload(dataset: Path) -> None:
    """Remove the uploaded bytes of a dataset whose pack is ready."""
    (dataset / UPLOAD).unlink(missing_ok=True)
