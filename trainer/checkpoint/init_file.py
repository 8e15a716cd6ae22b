"""Weights that a job begins with: a copy in the job's own folder, which no one else removes."""

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from trainer.schema.errors import SpecError, StorageError
from trainer.util.atomic_files import make_folder, replace_file, storage_errors
from trainer.util.safetensors_header import WEIGHTS_DTYPES, BadHeader, read_header

FIELD = "init_from"


@dataclass(frozen=True, slots=True)
class InitWeights:
    """Weights of a file."""

    sha256: str
    tensors: dict[str, Tensor] = field(repr=False)


def read_init(path: Path, *, sha256: str | None) -> InitWeights:
    """Read weights, which must have this sha256 if one is given. Raises SpecError, StorageError."""
    data = _bytes_of(path)
    digest = hashlib.sha256(data).hexdigest()
    if sha256 not in {None, digest}:
        detail = f"the file has the sha256 {digest} instead of {sha256}"
        raise SpecError(detail, field=f"{FIELD}.sha256")
    try:
        read_header(io.BytesIO(data), size_bytes=len(data), dtypes=WEIGHTS_DTYPES)
        return InitWeights(digest, safetensors.torch.load(data))
    except (BadHeader, safetensors.SafetensorError) as error:
        raise SpecError(f"{path.name} holds no weights: {error}", field=FIELD) from error


def keep_copy(source: Path, target: Path) -> Path:
    """Copy a file once, whole or not at all; a copy that exists stays. Raises StorageError."""
    if not target.exists():
        with storage_errors(target, leftover=target):
            make_folder(target.parent)
            replace_file(target, _bytes_of(source))
    return target


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path.name} cannot be read: {error.strerror}.") from error
