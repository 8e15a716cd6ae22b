"""Copy of the weights that a job begins with: in the job's folder, where nobody removes them.

A published encoder and uploaded weights are hard-linked. Of a checkpoint the encoder alone is
written. The trainer verifies the sha256 of the copy that the job's spec names.
"""

import errno
import os
from pathlib import Path, PurePosixPath

from service.files.safe_open import open_inside
from trainer.checkpoint.encoder_file import STATE, encoder_file
from trainer.spec.init_from import INIT
from trainer.util.atomic_files import sync_folder, write_blocks
from trainer.util.safetensors_header import BadHeader

ROLE = "init"
"""Role in the inputs of a job: a safetensors file, or the `state.safetensors` of a checkpoint."""


def place_init(data_dir: Path, source: str, folder: Path) -> None:
    """Put `source`, relative to the data folder, into the folder of a job. One that is there stays.

    Raises OSError, and leaves no part of the file.
    """
    target = folder / INIT
    if target.exists():
        return
    temporary = folder / f"{INIT}.tmp"
    temporary.unlink(missing_ok=True)
    try:
        _write(data_dir, source, temporary)
        temporary.replace(target)
        sync_folder(folder)
    finally:
        temporary.unlink(missing_ok=True)


def _write(data_dir: Path, source: str, target: Path) -> None:
    with open_inside(data_dir, source) as file:
        if PurePosixPath(source).name == STATE:
            try:
                write_blocks(target, encoder_file(file).blocks(file))
            except BadHeader as error:
                raise OSError(errno.EIO, f"{source}: {error}") from error
            return
        try:
            target.hardlink_to(data_dir / source)
        except OSError:  # the file system has no hard links
            write_blocks(target, iter(lambda: os.read(file.fileno(), 1 << 20), b""))
