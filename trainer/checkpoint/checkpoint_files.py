"""Checkpoint files: the state of a run, written atomically.

A checkpoint is the folder `<step, 9 digits>/` with `state.safetensors`, `meta.json` and, written
last, `manifest.json`: the sha256 and size of the other two, and its own sha256. It is written as
`<step>.tmp/`, each file is fsynced, and one rename makes it visible. The files are safetensors and
JSON, so reading one never runs code.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import safetensors.torch
from pydantic import Field, ValidationError
from torch import Tensor

from trainer.checkpoint import safetensors_writer
from trainer.checkpoint.encoder_file import STATE
from trainer.schema.base import Record
from trainer.schema.errors import CheckpointError
from trainer.schema.events import FileRecord
from trainer.util.atomic_files import (
    MANIFEST,
    make_folder,
    remove,
    storage_errors,
    sync_folder,
    write_blocks,
)
from trainer.util.failpoints import failpoint

META = "meta.json"
AnyRecord = TypeVar("AnyRecord", bound=Record)
log = logging.getLogger(__name__)


class Meta(Record):
    """Metadata of a checkpoint."""

    version: int = 1
    step: int
    """Optimizer steps done."""
    fingerprint: dict[str, str]
    """Fingerprint of the run that wrote it."""
    differs: tuple[str, ...] = Field(default=(), strict=False)
    """Causes that ever changed between two attempts of the run: it is no longer exact."""


class Manifest(Record):
    """The files of a checkpoint."""

    version: int = 2
    files: tuple[FileRecord, ...] = Field(strict=False)
    sha256: str = ""
    """sha256 of this manifest with an empty `sha256` field, which detects damage to the manifest.

    """

    def sealed(self) -> "Manifest":
        """Return the manifest with its own hash."""
        bare = self.model_copy(update={"sha256": ""})
        return self.model_copy(update={"sha256": hashlib.sha256(_json(bare)).hexdigest()})


@dataclass(frozen=True, slots=True)
class Saved:
    """Checkpoint on disk."""

    path: Path
    step: int
    manifest_sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint that was read back and verified."""

    path: Path
    meta: Meta
    state: dict[str, Tensor]


def save(
    folder: Path,
    state: Mapping[str, Tensor],
    meta: Meta,
    *,
    keep: int,
    best_step: int | None = None,
) -> Saved:
    """Write `<folder>/<step>/`, then remove all but the newest `keep` and that of `best_step`.

    Saving a step twice replaces it by the same. Raises StorageError, with nothing new visible,
    when the disk refuses; a file whose fsync failed is removed and not tried again.
    """
    final = folder / f"{meta.step:09d}"
    temporary = folder / f"{meta.step:09d}.tmp"
    remove(temporary)
    with storage_errors(final, leftover=temporary):
        failpoint("checkpoint.copied")
        make_folder(folder)
        temporary.mkdir()
        files = (
            write_blocks(temporary / STATE, _with_failpoint(_with_failpoint_halfway(state))),
            write_blocks(temporary / META, _with_failpoint([_json(meta)])),
        )
        failpoint("checkpoint.pre_manifest")
        manifest = write_blocks(
            temporary / MANIFEST, _with_failpoint([_json(Manifest(files=files).sealed())])
        )
        sync_folder(temporary)
        remove(final)
        failpoint("checkpoint.pre_rename")
        temporary.rename(final)
        failpoint("checkpoint.post_rename")
        sync_folder(folder)
        failpoint("checkpoint.pre_prune")
    for old in list_checkpoints(folder)[keep:]:
        if int(old.name) != best_step:
            remove(old)
    size_bytes = sum(file.size_bytes for file in (*files, manifest))
    return Saved(final, meta.step, manifest.sha256, size_bytes)


def list_checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints of a folder, newest first. Nothing is verified."""
    paths = [path for path in folder.glob("[0-9]*") if path.name.isdigit() and path.is_dir()]
    return sorted(paths, key=lambda path: int(path.name), reverse=True)


def load_newest(places: Iterable[Path]) -> Loaded | None:
    """The newest checkpoint that is intact; None if there is none at all.

    Each place is a checkpoint or a folder of them; a checkpoint's neighbours count too, in case
    it was removed or damaged. Raises CheckpointError if there are some and none is intact.
    """
    reasons = []
    for path in candidates(places):
        try:
            return load(path)
        except CheckpointError as error:
            # Not the error itself: a kept log record would keep the bytes of its frames alive.
            reasons.append(str(error))
            log.warning("%s", reasons[-1])
    if reasons:
        raise CheckpointError(" ".join(reasons))
    return None


def load(path: Path) -> Loaded:
    """Read one checkpoint; every byte is checked against the manifest before it is used.

    Raises CheckpointError, naming the file, if one is missing, cut short or changed.
    """
    manifest = _manifest(path)
    blobs = {}
    for file in manifest.files:
        data = _read(path / file.name)
        if len(data) != file.size_bytes or hashlib.sha256(data).hexdigest() != file.sha256:
            raise CheckpointError(f"{path.name}/{file.name} is damaged.")
        blobs[file.name] = data
    if blobs.keys() != {STATE, META}:
        raise CheckpointError(f"{path.name}/{MANIFEST} is damaged.")
    meta = _parsed(Meta, blobs[META])
    if path.name.isdigit() and int(path.name) != meta.step:
        raise CheckpointError(f"{path.name} holds the checkpoint of step {meta.step}.")
    return Loaded(path, meta, safetensors.torch.load(blobs[STATE]))


def clean(folder: Path) -> None:
    """Remove what an interrupted save left behind."""
    for leftover in folder.glob("*.tmp"):
        remove(leftover)


def candidates(places: Iterable[Path]) -> list[Path]:
    """Return the checkpoints of places and their neighbors, newest first. Nothing is verified."""
    found: dict[Path, None] = {}
    for place in places:
        for path in [place, *list_checkpoints(place), *list_checkpoints(place.parent)]:
            if path.name.isdigit() and path.is_dir():
                found[path.resolve()] = None
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def _manifest(path: Path) -> Manifest:
    """Read back to the byte: other bytes that mean the same are damage too."""
    data = _read(path / MANIFEST)
    manifest = _parsed(Manifest, data)
    if manifest != manifest.sealed() or data != _json(manifest):
        raise CheckpointError(f"{path.name}/{MANIFEST} is damaged.")
    return manifest


def _with_failpoint_halfway(state: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The blocks of the state, with a place to fail when half of its bytes are written."""
    half, done, passed = safetensors_writer.size_bytes(state) // 2, 0, False
    for block in safetensors_writer.blocks(state):
        yield block
        done += len(block)
        if done >= half and not passed:
            passed = True
            failpoint("checkpoint.mid_write")


def _with_failpoint(blocks: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """The blocks of a file, with a place to fail when all are written and none is synced."""
    yield from blocks
    failpoint("checkpoint.pre_fsync")


def _json(record: Record) -> bytes:
    return (json.dumps(record.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path.parent.name}/{path.name}: {error.strerror}.") from error


def _parsed(kind: type[AnyRecord], data: bytes) -> AnyRecord:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise CheckpointError(f"{kind.__name__} of a checkpoint cannot be read.") from error
