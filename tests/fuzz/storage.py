"""Disk space that the calls take, and its release by retention."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.service.api import Loose, RunningApi

KEPT_S, REMOVABLE_BYTES = 60.0, 50_000_000
RETENTION: dict[str, Loose] = {
    "upload_kept_s": KEPT_S,
    "dataset_unusable_kept_s": KEPT_S,
    "checkpoint_kept_s": KEPT_S,
    "event_kept_s": KEPT_S,
    "job_kept_s": KEPT_S,
    "log_kept_s": KEPT_S,
    "removable_bytes_max": REMOVABLE_BYTES,
}
UPLOADS, UPLOAD_BYTES = 70, 1_000_000
PATIENCE_S = 4 * KEPT_S


class Room(NamedTuple):
    """Bytes of the data folder as `du` counts them."""

    most: int
    left: int
    live: int
    """Bytes of `left` that belong to jobs and datasets in use."""


def fill(api: RunningApi) -> int:
    """Begin uploads that never end; return how many bytes were sent."""
    for number in range(UPLOADS):
        body = {"name": f"left-{number}", "size_bytes": UPLOAD_BYTES + 1}
        made = api.client.post("/v1/datasets", json=body)
        assert made.status_code == 201, made.text
        path = f"{made.headers['location']}/content"
        sent = api.client.put(path, content=os.urandom(UPLOAD_BYTES))
        assert sent.status_code == 202, sent.text
    return UPLOADS * UPLOAD_BYTES


def after_retention(api: RunningApi) -> Room:
    """Wait until less is left than may be. Raises AssertionError if that does not happen."""
    most = left = used_bytes(api.data_dir)
    end_s = time.monotonic() + PATIENCE_S
    while (left := used_bytes(api.data_dir)) >= REMOVABLE_BYTES + (live := live_bytes(api)):
        assert time.monotonic() < end_s, f"{left:,} bytes are left, {live:,} of them of use"
        time.sleep(1.0)
    return Room(most, left, live)


def used_bytes(folder: Path) -> int:
    """Count the bytes of a folder as `du` does."""
    return sum(_blocks(path) for path in [folder, *folder.rglob("*")])


def live_bytes(api: RunningApi) -> int:
    """Count the bytes of jobs that are running or succeeded, and of datasets that are ready."""
    jobs = [
        job["id"] for job in _items(api, "/v1/jobs") if job["status"] not in ("failed", "cancelled")
    ]
    datasets = [one["id"] for one in _items(api, "/v1/datasets") if one["status"] == "ready"]
    folders = [api.data_dir / "jobs" / id for id in jobs]
    folders += [api.data_dir / "datasets" / id for id in datasets]
    return sum(used_bytes(folder) for folder in folders if folder.exists())


def _items(api: RunningApi, path: str) -> Iterator[dict[str, Loose]]:
    params = {"limit": "100"}
    while True:
        page = api.client.get(path, params=params).json()
        yield from page["data"]
        if not page["has_more"]:
            return
        params["after"] = page["last_id"]


def _blocks(path: Path) -> int:
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:  # it was removed meanwhile
        return 0
