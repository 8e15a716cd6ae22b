"""Uploads where the service is killed in the middle, and uploads that nobody goes on with."""

import fcntl
import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from service.datasets.uploads import staged_path
from service.store.embedded.server import RunningRedis
from service.store.store import Store
from tests.support.service.api import KEY, RunningApi, client_of, ready_dataset, running_api
from tests.support.service.redis import empty, opened_store
from tests.support.system.processes import wait_until

CONTENT = random.Random(11).randbytes(4 * 2**20 + 321)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@contextmanager
def service(redis_url: str, data_dir: Path, failpoints: str = "") -> Iterator[httpx.Client]:
    """`python -m service`, and a client of it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {name: value for name, value in os.environ.items() if not name.startswith("MOCO_")}
    env |= {"MOCO_DATA_DIR": str(data_dir), "MOCO_REDIS_URL": redis_url, "MOCO_API_KEY": KEY}
    env |= {"MOCO_PORT": str(port), "MOCO_FAILPOINTS": failpoints}
    running = subprocess.Popen(
        [sys.executable, "-m", "service"], env=env, stderr=subprocess.DEVNULL
    )
    try:
        with client_of(f"http://127.0.0.1:{port}") as client:
            wait_until(lambda: running.poll() is not None or answers(client), 30, "it answers")
            yield client
        if failpoints:
            assert running.wait(20) == -signal.SIGKILL
    finally:
        running.kill()
        running.wait(20)


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False


def jobs_of(store: Store, dataset_id: str) -> list[str]:
    found = store.jobs.list(kind="ingest", limit=100).data
    return [job.id for job in found if job.dataset_id == dataset_id]


@pytest.mark.parametrize(
    ("failpoint", "least"),
    [
        ("upload.mid_write=SIGKILL@2", 2 * 2**20),
        ("upload.pre_sync=SIGKILL", len(CONTENT)),
        ("upload.pre_ingest=SIGKILL", len(CONTENT)),
    ],
)
def test_the_service_is_killed_in_an_upload(
    failpoint: str, least: int, api_redis: RunningRedis, tmp_path: Path
) -> None:
    with opened_store(api_redis.url) as store:
        empty(store)
        with service(api_redis.url, tmp_path, failpoint) as client:
            body = {"name": "killed", "size_bytes": len(CONTENT), "sha256": SHA256}
            dataset = client.post("/v1/datasets", json=body).json()["id"]
            path = f"/v1/datasets/{dataset}/content"
            with pytest.raises(httpx.TransportError):
                client.put(path, content=CONTENT)
        assert store.datasets.get(dataset).status == "received"
        assert jobs_of(store, dataset) == []
        with service(api_redis.url, tmp_path) as client:
            held = int(client.head(path).headers["upload-offset"])
            assert least <= held <= len(CONTENT)
            answer = client.put(path, content=CONTENT[held:], headers={"Upload-Offset": str(held)})
            assert answer.status_code == 200, answer.text
            again = client.get(f"/v1/datasets/{dataset}").json()
        assert (again["status"], again["sha256"]) == ("preparing", SHA256)
        assert (tmp_path / staged_path(dataset)).read_bytes() == CONTENT
        assert jobs_of(store, dataset) == [again["job_id"]]


def test_what_nobody_goes_on_with_is_removed(api_redis: RunningRedis, tmp_path: Path) -> None:
    """Only old bytes that wait for more or were read, never under a sender or for an ingest."""
    with running_api(api_redis.url, tmp_path) as api:
        old, new, sent, prepared = (staged(api, name) for name in ("old", "new", "sent", "prep"))
        ready = api.data_dir / staged_path(ready_dataset(api.store, "ready-one").id)
        ready.parent.mkdir(parents=True)
        ready.write_bytes(b"abc")
        stranger = api.data_dir / "datasets" / "ds_unknown" / "upload.part"
        stranger.parent.mkdir()
        stranger.write_bytes(b"abc")
        put = api.client.put("/v1/datasets/prep/content", content=b"x" * 10)
        assert put.json()["status"] == "preparing"
    for path in (old, sent, prepared, ready, stranger):
        os.utime(path, (0.0, time.time() - 25 * 3600))
    with sent.open("rb") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        with running_api(api_redis.url, tmp_path) as api:
            wait_until(lambda: old.stat().st_size == 0, 10, "the old one is emptied")
            wait_until(lambda: api.client.get("/livez").status_code == 200, 10)
            body = api.client.get("/v1/datasets/old").json()
            assert (body["status"], body["received_bytes"]) == ("received", 0)
            late = api.client.put(
                "/v1/datasets/old/content", content=b"yyyyy", headers={"Upload-Offset": "5"}
            )
            assert (late.status_code, late.headers["upload-offset"]) == (409, "0")
            whole = api.client.put("/v1/datasets/old/content", content=b"y" * 10)
            assert whole.json()["status"] == "preparing"
    sizes = [path.stat().st_size for path in (new, sent, prepared, ready, stranger)]
    assert sizes == [5, 5, 10, 0, 3]


def test_it_looks_again_and_again(api_redis: RunningRedis, tmp_path: Path) -> None:
    with running_api(api_redis.url, tmp_path, upload_kept_s=0.3) as api:
        path = staged(api, "again")
        wait_until(lambda: path.stat().st_size == 0, 10, "it is emptied")


def staged(api: RunningApi, name: str) -> Path:
    """An upload that broke off after five of ten bytes."""
    made = api.client.post("/v1/datasets", json={"name": name, "size_bytes": 10})
    answer = api.client.put(f"/v1/datasets/{name}/content", content=b"x" * 5)
    assert answer.status_code == 202, made.text + answer.text
    return Path(api.data_dir / staged_path(made.json()["id"]))
