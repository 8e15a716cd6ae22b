"""A whole stack without the API: a real server, real worker processes, jobs put in the store."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from service.ids import new_id
from service.store.embedded.server import RunningRedis, start_redis
from service.store.records import JobRecord, NewDataset, NewJob, Status
from service.store.store import Store, open_store
from service.store.store_settings import StoreSettings
from tests.support.data.tiny_pack import blobs, write_pack
from tests.support.system.processes import alive, children_of, wait_until
from trainer.data.spec import IngestSpec
from trainer.schema.events import EVENT, DatasetFacts, Event
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

ROOT = Path(__file__).parents[3]
QUICK = {
    "MOCO_TICK_S": "0.2",
    "MOCO_LEASE_TTL_TICKS": "8",
    "MOCO_RENEW_EVERY_S": "0.3",
    "MOCO_COMPILE_AHEAD": "false",
}
"""A lease of 1.6 s instead of 15 s, and no wait for the compiler before the first job."""
PRODUCTION = {
    "MOCO_TICK_S": "1.0",
    "MOCO_LEASE_TTL_TICKS": "15",
    "MOCO_RENEW_EVERY_S": "3.0",
    "MOCO_COMPILE_AHEAD": "true",
}
"""Settings of `moco up` with several workers on few cores: one thread each."""
WARM_S = 300.0
PATIENCE_S = 20.0
"""Timeout of the test's own connection: a slow disk or a busy host fails no test. Workers have
what users have."""


@dataclass
class WorkerProcess:
    """One `python -m worker`."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def words(self) -> str:
        return self.log.read_text()

    def metrics(self, key: str) -> str:
        """Its `/metrics`."""
        match = re.search(r"metrics at (\S+)", self.words())
        assert match
        headers = {"Authorization": f"Bearer {key}"}
        request = urllib.request.Request(match[1], headers=headers)
        with urllib.request.urlopen(request, timeout=10) as reply:
            return str(reply.read().decode())

    def end(self) -> None:
        """Stop it whatever it is doing; its forkserver and children go with it."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.send_signal(signal.SIGCONT)
        self.process.wait(10.0)


@dataclass
class Stack:
    """Everything that a test needs of a running mocoserve."""

    data_dir: Path
    redis: RunningRedis
    store: Store
    environment: dict[str, str]
    workers: list[WorkerProcess] = field(default_factory=list)
    packs: dict[str, DatasetFacts] = field(default_factory=dict)

    def start_worker(
        self, module: str = "worker", *, prefix: Sequence[str] = (), **environment: str
    ) -> WorkerProcess:
        """A worker that is still importing; `warm` waits for it. `prefix` is a command before."""
        log = self.data_dir / f"worker-{len(self.workers)}.log"
        environment = {
            **os.environ,
            "MOCO_DATA_DIR": str(self.data_dir),
            "MOCO_REDIS_URL": self.redis.url,
            "MOCO_POOLS": "train,ingest",
            "MOCO_DEVICE": "cpu",
            "MOCO_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            **self.environment,
            **environment,
        }
        with log.open("wb") as opened:
            process = subprocess.Popen(
                [*prefix, sys.executable, "-m", module],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stderr=opened,
                stdout=opened,
            )
        worker = WorkerProcess(process, log)
        self.workers.append(worker)
        return worker

    def living(self) -> list[WorkerProcess]:
        """Workers whose process runs."""
        return [worker for worker in self.workers if alive(worker.pid)]

    def need_workers(self, count: int) -> None:
        """Start as many as are missing, and wait until all of them can fork."""
        for _ in range(count - len(self.living())):
            self.start_worker()
        for worker in self.living():
            self.warm(worker)

    def warm(self, worker: WorkerProcess) -> None:
        """Wait until a worker claims: it does so only when its forkserver is ready."""
        wait_until(lambda: "is ready" in worker.words(), WARM_S, worker.words())

    def owner(self, job_id: str) -> WorkerProcess:
        """The worker that runs a job."""
        worker_id = self.store.jobs.get(job_id).worker_id
        pids = {row.id: row.pid for row in self.store.workers.list()}
        return next(worker for worker in self.workers if worker.pid == pids[worker_id or ""])

    def add_pack(self, name: str, *, rows: int, side_px: int = 8) -> str:
        """A pack of made-up images; its path as the store knows it."""
        path = f"datasets/{name}/attempts/1/pack"
        images, labels = blobs(rows, side_px=side_px, classes=4)
        classes = ("a", "b", "c", "d")
        facts = write_pack(self.data_dir / path, images, labels, classes=classes)
        self.packs[path] = facts
        return path

    def submit(self, pack: str, **changes: Any) -> str:  # noqa: ANN401  # any field of a JobSpec
        """Queue a training as the API would."""
        spec = JobSpec.model_validate(
            {"dataset": "made-up", "encoder": {"name": "small"}} | changes
        )
        resolved = resolve(spec, self.packs[pack])
        job_id = new_id("job")
        new = NewJob(
            kind="train",
            pool=spec.pool,
            name=spec.name or "",
            spec_json=spec.model_dump_json(exclude_unset=True),
            resolved_json=resolved.spec.model_dump_json(),
            inputs={"dataset": pack},
            folder=f"jobs/{job_id}",
            max_failures=spec.retry.max_failures,
            slots=resolved.spec.resources.slots_per_node,
            nodes=resolved.spec.resources.nodes,
        )
        return self.store.jobs.submit(new, job_id=job_id).job_id

    def ingest(self, content: bytes, **changes: Any) -> tuple[str, str]:  # noqa: ANN401
        """Upload bytes as a dataset and queue its ingest: (dataset id, job id)."""
        dataset_id, job_id = new_id("ds"), new_id("job")
        self.store.datasets.create(NewDataset(dataset_id=dataset_id, name=dataset_id))
        folder = f"datasets/{dataset_id}"
        (self.data_dir / folder).mkdir(parents=True)
        (self.data_dir / folder / "upload.part").write_bytes(content)
        size, digest = len(content), sha256(content).hexdigest()
        self.store.datasets.set_uploaded(dataset_id, size_bytes=size, sha256=digest)
        source = f"{folder}/upload.part"
        spec = IngestSpec.model_validate({"dataset_id": dataset_id, "source": source} | changes)
        new = NewJob(
            kind="ingest",
            pool="ingest",
            name=dataset_id,
            spec_json=spec.model_dump_json(),
            resolved_json=spec.model_dump_json(),
            folder=folder,
            dataset_id=dataset_id,
        )
        self.store.jobs.submit(new, job_id=job_id)
        return dataset_id, job_id

    def wait_for(self, job_id: str, *statuses: Status, timeout_s: float = 300.0) -> JobRecord:
        """The job, as soon as it has one of these statuses."""

        def there() -> bool:
            return self.store.jobs.get(job_id).status in statuses

        try:
            wait_until(there, timeout_s)
        except AssertionError as late:
            words = "\n".join(worker.words() for worker in self.workers)
            raise AssertionError(f"{self.store.jobs.get(job_id)}\n{words}") from late
        return self.store.jobs.get(job_id)

    def wait_for_step(self, job_id: str, step: int, *, attempt: int = 1) -> None:
        """Until an attempt has told that it has done so many steps."""

        def there() -> bool:
            job = self.store.jobs.get(job_id)
            return job.attempt >= attempt and job.progress.get("step", 0) >= step

        wait_until(there, 300.0, f"step {step} of {job_id}")

    def events(self, job_id: str) -> list[Event]:
        """Return the trainer's events, without the store's own."""
        entries = self.store.events.read(job_id, after="-", limit=10_000)
        return [EVENT.validate_json(text) for _, text in entries if '"type":"status"' not in text]

    def artifacts(self, job: JobRecord) -> dict[str, str]:
        """Name -> sha256 of the published files, of the bytes that lie on the disk."""
        assert job.artifacts_folder
        folder = self.data_dir / job.artifacts_folder
        return {file.name: sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


@contextmanager
def running_stack(folder: Path, **environment: str) -> Iterator[Stack]:
    """A stack in `folder`; every process it started has ended afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    redis = start_redis(folder)
    stack = None
    try:
        store = open_store(StoreSettings(redis_url=redis.url, redis_timeout_s=PATIENCE_S))
        stack = Stack(folder, redis, store, QUICK | environment)
        yield stack
    finally:
        for worker in stack.workers if stack else ():
            worker.end()
        if stack:
            stack.store.close()
            stack.redis.stop()
        else:
            redis.stop()


def family(pid: int) -> list[int]:
    """A worker, its forkserver, and the child that trains."""
    (forkserver,) = children_of(pid)
    return [pid, forkserver, *children_of(forkserver)]


def changes_in(folder: Path, *, apart_from: Path) -> Callable[[], list[str]]:
    """A function that names what has changed in a folder, but for a part of it, since this call."""

    def bytes_of() -> dict[str, str]:
        files = [
            path
            for path in folder.rglob("*")
            if not path.is_relative_to(apart_from) and path.is_file()
        ]
        return {str(path): sha256(path.read_bytes()).hexdigest() for path in files}

    before = bytes_of()

    def changed() -> list[str]:
        after = bytes_of()
        return sorted(path for path in before | after if before.get(path) != after.get(path))

    return changed
