"""Uploaded weights: a folder for each, whose description is written atomically.

They have no record in Redis and no ledger: the folder is the record, so a lost Redis loses none and
a backup of the data folder has them all. Changes wait for each other by a lock of the whole
folder, also between processes.
"""

import fcntl
import math
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from service import ids
from service.datasets.uploads import is_locked
from service.errors import ServiceError, invalid
from service.files.disk_errors import translate_disk_errors
from service.files.safe_open import open_inside
from service.ledger.journaled_store import DELETED, drop
from service.store.store_errors import IdempotencyConflict, NotFound
from trainer.schema.artifact_names import UPLOAD
from trainer.schema.base import Kept
from trainer.util.atomic_files import make_folder, replace_file, sync_folder
from trainer.util.safetensors_header import WEIGHTS_DTYPES, BadHeader, read_header

FOLDER = "weights"
DESCRIPTION, CONTENT = "weights.json", "weights.safetensors"
KEY_S = 24 * 3600.0
"""Seconds for which an Idempotency-Key answers with the weights that it made."""


class WeightsRecord(Kept):
    """Uploaded weights as they are now."""

    id: str
    name: str
    status: Literal["received", "failed", "ready"] = "received"
    """`received`: waiting for its bytes; `failed`: they were no weights."""
    reason: str = ""
    """Reason why they failed."""
    created_at_s: float
    size_bytes: int | None = None
    """Size of the file, as announced or received."""
    sha256: str | None = None
    """sha256 of the file, as announced or received."""
    tensors: int = 0
    parameters: int = 0
    """Numbers in all tensors."""
    idem_key: str = ""
    fingerprint: str = ""

    @property
    def path(self) -> str:
        """Path of the file, relative to the data folder."""
        return f"{FOLDER}/{self.id}/{CONTENT}"


@dataclass(frozen=True, slots=True)
class WeightsStore:
    """The weights of a data folder. Every method may raise ServiceError of the disk."""

    data_dir: Path

    @property
    def _folder(self) -> Path:
        return self.data_dir / FOLDER

    def staged(self, record: WeightsRecord) -> Path:
        """Return the path of the bytes as they arrive."""
        return self._folder / record.id / UPLOAD

    def create(self, new: WeightsRecord) -> tuple[WeightsRecord, bool]:
        """Make weights that wait for their bytes. Return them, and whether they were there.

        Failed weights lose their name to them and are removed. The same Idempotency-Key and body
        answer the first ones for a day. Raises ServiceError `name_taken`, IdempotencyConflict.
        """
        with self._locked():
            for record in self.list():
                is_recent = new.created_at_s - record.created_at_s < KEY_S
                if new.idem_key and record.idem_key == new.idem_key and is_recent:
                    if record.fingerprint != new.fingerprint:
                        raise IdempotencyConflict(new.idem_key)
                    return record, True
            other = next((it for it in self.list() if it.name == new.name), None)
            is_failed = other is not None and other.status == "failed"
            if other is not None and is_failed and not is_locked(self.staged(other)):
                drop(self._folder / other.id)
            elif other is not None:
                detail = f"The name {new.name!r} belongs to the weights {other.id}."
                raise ServiceError("name_taken", detail)
            make_folder(self._folder / new.id)
            self._write(new)
            return new, False

    def get(self, name: str) -> WeightsRecord:
        """Return the weights of this id or name. Raises NotFound."""
        for record in self.list():
            if name in {record.id, record.name}:
                return record
        raise NotFound("file of weights", name[:128])

    def list(self) -> list[WeightsRecord]:
        """Return all weights, newest first."""
        records = (read_description(folder) for folder in folders(self.data_dir))
        described = [record for record in records if record is not None]
        return sorted(described, key=lambda record: record.id, reverse=True)

    def complete(self, record: WeightsRecord, size_bytes: int, sha256: str) -> WeightsRecord:
        """Take the bytes that have arrived as the weights.

        Raises ServiceError `invalid` if they are no safetensors file of weights; they are dropped,
        and the weights have failed.
        """
        staged = self.staged(record)
        try:
            with open_inside(self.data_dir, f"{FOLDER}/{record.id}/{UPLOAD}") as file:
                header = read_header(file, size_bytes=size_bytes, dtypes=WEIGHTS_DTYPES)
                if not header.tensors:
                    raise BadHeader("it has no tensors")
        except BadHeader as error:
            os.truncate(staged, 0)
            detail = f"The file is no safetensors file of weights: {error}."
            with self._locked():
                self._write(record.model_copy(update={"status": "failed", "reason": detail}))
            raise invalid("body", detail) from None
        parameters = sum(math.prod(it.shape) for it in header.tensors.values())
        update = {"status": "ready", "reason": "", "size_bytes": size_bytes, "sha256": sha256}
        update |= {"tensors": len(header.tensors), "parameters": parameters}
        with self._locked():
            staged.rename(staged.with_name(CONTENT))
            ready = record.model_copy(update=update)
            self._write(ready)
        return ready

    def delete(self, record: WeightsRecord) -> None:
        """Remove weights. Jobs that began with them have copies of their own."""
        with self._locked():
            drop(self._folder / record.id)
            sync_folder(self._folder)

    def _write(self, record: WeightsRecord) -> None:
        data = record.model_dump_json(indent=1).encode() + b"\n"
        replace_file(self._folder / record.id / DESCRIPTION, data)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with translate_disk_errors():
            make_folder(self._folder)
            handle = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield
            finally:
                os.close(handle)


def new_weights(
    name: str, *, size_bytes: int | None, sha256: str | None, key: str = "", fingerprint: str = ""
) -> WeightsRecord:
    """Return weights that are to be created now."""
    return WeightsRecord(
        id=ids.new_id("wgt"),
        name=name,
        created_at_s=time.time(),
        size_bytes=size_bytes,
        sha256=sha256,
        idem_key=key,
        fingerprint=fingerprint,
    )


def folders(data_dir: Path) -> list[Path]:
    """Return the folders of all weights, without those that are being removed."""
    return sorted(
        folder
        for folder in (data_dir / FOLDER).glob("wgt_*")
        if re.fullmatch(ids.WEIGHTS_ID, folder.name) and not folder.name.endswith(DELETED)
    )


def read_description(folder: Path) -> WeightsRecord | None:
    """Return what the description of a folder says; None for one that cannot be read."""
    try:
        record = WeightsRecord.model_validate_json((folder / DESCRIPTION).read_bytes())
    except (OSError, ValidationError):
        return None
    return record if record.id == folder.name else None
