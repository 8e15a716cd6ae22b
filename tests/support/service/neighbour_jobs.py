"""A job that can be asked about its encoder, and a worker that is played."""

import hashlib
import json
import time

from service.api.schemas.neighbours import RESULT
from service.store.records import Lease
from tests.support.data.images import png
from tests.support.service.api import RunningApi, claim, ready_dataset, running_job
from trainer.schema.events import FileRecord


def trained(api: RunningApi) -> str:
    """A job that ended well, on a dataset of 1000 rows."""
    dataset = ready_dataset(api.store, f"d{time.time_ns()}")
    lease = running_job(api.store, dataset_id=dataset.id, inputs={"dataset": dataset.pack})
    folder = f"{lease.folder}/attempts/1/artifacts"
    (api.data_dir / folder).mkdir(parents=True)
    files = tuple(
        FileRecord(name=name, size_bytes=1, sha256=hashlib.sha256(name.encode()).hexdigest())
        for name in ("embeddings.parquet", "encoder.safetensors")
    )
    api.store.queue.complete(lease, artifacts=files, artifacts_folder=folder)
    return lease.job_id


def answered(api: RunningApi) -> Lease:
    """The next probe is claimed and answered as a worker would."""
    lease = claim(api.store, "ingest")
    assert lease.kind == "probe"
    folder = f"{lease.folder}/attempts/{lease.attempt}/answer"
    (api.data_dir / folder).mkdir(parents=True)
    files = {
        "neighbours.json": json.dumps(RESULT).encode(),
        "sheet.png": png(1),
        "tiles.png": png(2),
    }
    for name, data in files.items():
        (api.data_dir / folder / name).write_bytes(data)
    artifacts = tuple(
        FileRecord(name=name, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for name, data in files.items()
    )
    api.store.queue.complete(lease, artifacts=artifacts, artifacts_folder=folder)
    return lease
