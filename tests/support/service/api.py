"""A real API on a loopback port: uvicorn in a thread, a real store behind it."""

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import httpx

from service.app import create_app
from service.ids import new_id
from service.server.asgi_server import Server, client_timeouts_of, make_server
from service.settings import ApiSettings
from service.store.records import DatasetRecord, Lease, NewDataset, NewJob
from service.store.store import Store, open_store
from tests.support.data.dataset_facts import made_up_facts
from trainer.schema.events import DatasetFacts, FileRecord
from trainer.spec.job import JobSpec

KEY = "moco_test_key_0123456789"
SHA256 = "0" * 64
Loose: TypeAlias = Any
"""Whatever a model or a request shall judge."""


@dataclass
class RunningApi:
    """The server, and what stands behind it."""

    url: str
    settings: ApiSettings
    store: Store
    server: Server
    client: httpx.Client

    @property
    def data_dir(self) -> Path:
        return self.settings.data_dir

    def server_metric(self, name: str, **labels: str) -> float:
        """The value of one series of the API's own metrics."""
        parts = self.server.config.app.state.services  # type: ignore[union-attr]
        return float(parts.instruments.registry.get_sample_value(name, labels) or 0.0)


@contextlib.contextmanager
def running_api(redis_url: str, data_dir: Path, **changes: Loose) -> Iterator[RunningApi]:
    """An API that is asked to stop afterwards, and must."""
    fields: dict[str, Any] = {"redis_url": redis_url, "data_dir": data_dir, "api_key": KEY}
    settings = ApiSettings(**(fields | changes))
    store = open_store(settings)
    app = create_app(settings, store)
    server = make_server(
        app,
        host="127.0.0.1",
        port=0,
        on_shutdown=app.state.services.broadcaster.stop,
        timeouts=client_timeouts_of(settings),
        on_slow=app.state.services.on_slow,
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        with client_of(url) as client:
            yield RunningApi(url, settings, store, server, client)
    finally:
        server.should_exit = True
        thread.join(15)
        store.close()
        assert not thread.is_alive(), "the server did not stop"


def client_of(url: str, key: str | None = KEY) -> httpx.Client:
    """A plain client with the key."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    # Without TLS there are no certificates to load, which would take a tenth of a second.
    return httpx.Client(base_url=url, headers=headers, timeout=20.0, trust_env=False, verify=False)


def facts(**changes: Loose) -> DatasetFacts:
    """Return the facts of a small labelled dataset."""
    fields: dict[str, Any] = {"rows": 1000, "bad_files": 1, "labels": ("cat", "dog")}
    sums = {"size_bytes": 3_072_000, "sha256": SHA256}
    return made_up_facts(**(fields | sums | changes))


def claim(store: Store, pool: str) -> Lease:
    """The next job of a pool."""
    lease = store.queue.claim(pools=(pool,), worker_id="worker-1", nonce=new_id("job"))
    assert lease is not None
    return lease


def ready_dataset(store: Store, name: str, **changes: Loose) -> DatasetRecord:
    """A dataset that an ingest has made ready, as a worker would have."""
    dataset_id = new_id("ds")
    store.datasets.create(NewDataset(dataset_id=dataset_id, name=name))
    new = NewJob(
        kind="ingest",
        pool=f"ingest-{dataset_id[-8:]}",
        name="ingest",
        spec_json="{}",
        resolved_json="{}",
        inputs={"source": "x"},
        folder=f"datasets/{dataset_id}",
        dataset_id=dataset_id,
    )
    store.jobs.submit(new, job_id=new_id("job"))
    lease = claim(store, new.pool)
    store.queue.complete(
        lease,
        artifacts=(),
        artifacts_folder=f"datasets/{dataset_id}/attempts/1/pack",
        facts_json=facts(**changes).model_dump_json(),
    )
    return store.datasets.get(dataset_id)


def queued_job(store: Store, **changes: Loose) -> str:
    """A training job that waits in a pool of its own."""
    job_id = new_id("job")
    spec = JobSpec(dataset="x", epochs=3)
    fields: dict[str, Any] = {
        "kind": "train",
        "pool": f"p{job_id[-20:]}",
        "name": "a job",
        "spec_json": spec.model_dump_json(exclude_unset=True),
        "resolved_json": spec.model_dump_json(),
        "inputs": {"dataset": "x"},
        "folder": f"jobs/{job_id}",
    }
    store.jobs.submit(NewJob(**(fields | changes)), job_id=job_id)
    return job_id


def running_job(store: Store, **changes: Loose) -> Lease:
    """A training job that a worker has claimed."""
    job_id = queued_job(store, **changes)
    return claim(store, store.jobs.get(job_id).pool)


def finished_job(api: RunningApi, files: dict[str, bytes], **progress: Loose) -> str:
    """A job that succeeded and published `files`, name -> bytes."""
    lease = running_job(api.store)
    folder = f"{lease.folder}/attempts/1/artifacts"
    (api.data_dir / folder).mkdir(parents=True)
    records = []
    for name, content in files.items():
        path = api.data_dir / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        records.append(FileRecord(name=name, size_bytes=len(content), sha256=sha256))
    if progress:
        api.store.queue.append(lease, [json.dumps({"type": "logged", "message": "x"})], progress)
    api.store.queue.complete(lease, artifacts=tuple(records), artifacts_folder=folder)
    return lease.job_id
