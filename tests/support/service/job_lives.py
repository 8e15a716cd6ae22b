"""Jobs that live through API and worker as they would, on a real store and a real disk."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from service.ids import new_id
from service.ledger.journaled_store import JournaledStore
from service.ledger.ledger_writer import AttemptLedger
from service.store.records import Lease, NewJob
from service.store.store import Store
from tests.support.service.api import facts
from tests.support.service.redis import empty
from trainer.schema.events import FileRecord

MANIFEST = b'{"files": []}'


@dataclass
class World:
    """One data folder and its store; `leases` are the attempts that run."""

    store: Store
    data_dir: Path
    leases: dict[str, tuple[Lease, AttemptLedger]] = field(default_factory=dict)

    @property
    def journal(self) -> JournaledStore:
        return JournaledStore(self.store, self.data_dir)

    def submit(self, *, key: str | None = None, max_failures: int = 0, pool: str = "train") -> str:
        job_id = new_id("job")
        new = NewJob(
            kind="train",
            pool=pool,
            name="a job",
            spec_json='{"dataset":"digits"}',
            resolved_json='{"dataset":"digits","epochs":3}',
            reasons_json='{"epochs":"Because."}',
            inputs={"dataset": "datasets/ds_1/attempts/1/pack"},
            folder=f"jobs/{job_id}",
            max_failures=max_failures,
        )
        done = self.journal.submit(new, job_id=job_id, idempotency_key=key, fingerprint="f")
        return done.job_id

    def claim(self, pool: str = "train") -> Lease | None:
        """The next job, begun as a worker begins it."""
        lease = self.store.queue.claim(pools=(pool,), worker_id="w1", nonce=new_id("job"))
        if lease is not None:
            folder = self.data_dir / lease.folder / "attempts" / str(lease.attempt)
            folder.mkdir(parents=True)
            ledger = AttemptLedger(folder, lease)
            ledger.claimed()
            self.leases[lease.job_id] = lease, ledger
        return lease

    def checkpoint(self, job_id: str, step: int) -> str:
        """A checkpoint on the disk, then told. The path relative to the data folder."""
        lease, ledger = self.leases[job_id]
        path = f"{lease.folder}/attempts/{lease.attempt}/checkpoints/{step:09d}"
        (self.data_dir / path).mkdir(parents=True, exist_ok=True)
        (self.data_dir / path / "manifest.json").write_bytes(MANIFEST)
        sha256 = hashlib.sha256(MANIFEST).hexdigest()
        self.store.queue.checkpoint(
            lease, step=step, path=path, manifest_sha256=sha256, size_bytes=len(MANIFEST)
        )
        ledger.checkpoint(step=step, path=path, manifest_sha256=sha256, size_bytes=len(MANIFEST))
        return path

    def complete(self, job_id: str, content: bytes = b"encoder") -> None:
        lease, ledger = self.leases.pop(job_id)
        what = "artifacts" if lease.kind == "train" else "pack"
        folder = f"{lease.folder}/attempts/{lease.attempt}/{what}"
        (self.data_dir / folder).mkdir()
        (self.data_dir / folder / "a.bin").write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        (self.data_dir / folder / "SHA256SUMS").write_text(f"{sha256}  a.bin\n")
        files = tuple(
            FileRecord(name=name, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            for name in ("a.bin", "SHA256SUMS")
            for data in [(self.data_dir / folder / name).read_bytes()]
        )
        known = facts().model_dump_json() if lease.kind == "ingest" else None
        self.store.queue.complete(lease, artifacts=files, artifacts_folder=folder, facts_json=known)
        ledger.completed(
            artifacts=files, artifacts_folder=folder, facts_json=known, progress={"step": 30}
        )

    def fail(self, job_id: str, *, retry: bool) -> None:
        lease, ledger = self.leases.pop(job_id)
        status = self.store.queue.fail(lease, code="oom", message="m", hint="h", retry=retry)
        ledger.ended("fail", status, why=("oom", "m", "h"), progress={})

    def release(self, job_id: str) -> None:
        lease, ledger = self.leases.pop(job_id)
        status = self.store.queue.release(lease)
        ledger.ended("release", status, why=("preempted", "", ""), progress={})

    def lose(self, job_id: str) -> None:
        """The worker of this job dies; all others renew."""
        self.leases.pop(job_id)
        now = self.store.queue.current_tick()
        for _ in range(16):
            for lease, _ledger in self.leases.values():
                self.store.queue.renew(lease)
            now = self.store.queue.tick(now)

    def wipe(self) -> None:
        """FLUSHALL: no lease is worth anything any more."""
        empty(self.store)
        self.leases.clear()

    def ledger(self, job_id: str) -> list[dict[str, object]]:
        """The lines of a job."""
        text = (self.data_dir / "jobs" / job_id / "ledger.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]
