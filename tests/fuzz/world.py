"""Contents of the fuzzed API: resources of every kind, and a worker that makes more."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from service.ids import new_id
from service.store.records import Lease, NewDataset
from service.store.store import Store
from service.store.store_errors import Fenced, StoreError
from tests.support.service.api import RunningApi, facts, finished_job, queued_job, ready_dataset
from tests.support.service.redis import worker
from trainer.schema.events import FileRecord

READ_KEY, SCRAPE_KEY = "moco_read_key_0123456789", "moco_scrape_key_0123456789"
POOLS = ("train", "ingest")
WAIT_S = 0.05


class World(NamedTuple):
    """Ids of things that exist, by what a path calls them."""

    jobs: list[str]
    datasets: list[str]
    workers: list[str]
    names: list[str]

    def as_json(self) -> str:
        """Return the ids as JSON for the hooks, which run in another process."""
        return json.dumps(self._asdict())


def populate(api: RunningApi) -> World:
    """Make datasets and jobs in several states, and a worker's record."""
    store = api.store
    datasets = [ready_dataset(store, "ready").id, "ready"]
    datasets.append(store.datasets.create(NewDataset(dataset_id=new_id("ds"), name="empty")).id)
    names = ["encoder.safetensors", "README.md"]
    done = finished_job(api, {name: b"0123456789" * 100 for name in names}, step=9, steps=9)
    folder = api.data_dir / "jobs" / done / "attempts" / "1"
    rows = [{"step": step, "epoch": step / 10, "loss": 1.0 / step} for step in range(1, 200)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "log.txt").write_text("one\ntwo\n")
    store.workers.beat(worker(id="w-1", pools=POOLS))
    return World([done, queued_job(store), queued_job(store)], datasets, ["w-1"], names)


@contextmanager
def busy_worker(api: RunningApi) -> Iterator[None]:
    """Claim what is submitted meanwhile; every third run fails, the others succeed at once."""
    stop = threading.Event()
    thread = threading.Thread(target=_work, args=(api, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive(), "the worker did not stop"


def _work(api: RunningApi, stop: threading.Event) -> None:
    runs = 0
    while not stop.wait(WAIT_S):
        try:
            lease = api.store.queue.claim(pools=POOLS, worker_id="w-1", nonce=new_id("job"))
            if lease is not None:
                runs += 1
                _run(api, lease, fails=runs % 3 == 0)
        except (Fenced, FileNotFoundError):
            continue  # the job was cancelled, or its dataset deleted
        except StoreError:
            if not stop.is_set():
                raise


def _run(api: RunningApi, lease: Lease, *, fails: bool) -> None:
    """Play one attempt, with events and a file."""
    store: Store = api.store
    store.queue.append(lease, [json.dumps({"type": "logged", "message": "x"})], {"step": 1})
    if fails:
        store.queue.fail(lease, code="nonfinite_loss", message="m", hint="h", retry=False)
        return
    kind = "pack" if lease.kind == "ingest" else "artifacts"
    folder = f"{lease.folder}/attempts/{lease.attempt}/{kind}"
    (api.data_dir / folder).mkdir(parents=True, exist_ok=True)
    (api.data_dir / folder / "file.bin").write_bytes(b"0" * 10_000)
    record = FileRecord(name="file.bin", size_bytes=10_000, sha256="0" * 64)
    store.queue.complete(
        lease,
        artifacts=(record,),
        artifacts_folder=folder,
        facts_json=facts().model_dump_json() if lease.kind == "ingest" else None,
    )
