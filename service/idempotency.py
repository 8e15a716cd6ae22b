"""Remembers on the disk which dataset an Idempotency-Key made; Redis remembers jobs."""

import hashlib
import json
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from service.ids import new_id
from service.store.errors import IdempotencyConflict

FOLDER = "idempotency"
KEPT_S = 24 * 3600.0


class Claim(NamedTuple):
    """What a key stands for."""

    dataset_id: str
    replayed: bool
    """Whether an earlier request claimed it."""


def fingerprint(body: BaseModel) -> str:
    """The same for two bodies exactly when they say the same."""
    text = json.dumps(body.model_dump(mode="json", exclude_unset=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def claim(data_dir: Path, key: str | None, body: BaseModel) -> Claim:
    """The dataset id that `key` stands for from now on. Of several requests the first decides.

    Raises IdempotencyConflict when the key came with another body in the last 24 hours.
    """
    if key is None:
        return Claim(new_id("ds"), replayed=False)
    path, mark = _place(data_dir, key), fingerprint(body)
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if time.time() - path.stat().st_mtime > KEPT_S:
            path.unlink()
    mine = {"dataset_id": new_id("ds"), "fingerprint": mark}
    if _write_first(path, json.dumps(mine)):
        return Claim(mine["dataset_id"], replayed=False)
    known = json.loads(path.read_text("ascii"))
    if known["fingerprint"] != mark:
        raise IdempotencyConflict(key)
    return Claim(known["dataset_id"], replayed=True)


def forget(data_dir: Path, key: str | None) -> None:
    """The request failed for good: its key may be used for another."""
    if key is not None:
        _place(data_dir, key).unlink(missing_ok=True)


def _place(data_dir: Path, key: str) -> Path:
    return data_dir / FOLDER / f"{hashlib.sha256(key.encode()).hexdigest()}.json"


def _write_first(path: Path, text: str) -> bool:
    """Write the file whole unless there is one; whether it is ours."""
    draft = path.with_suffix(f".{secrets.token_hex(8)}.tmp")
    try:
        with draft.open("x", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True
