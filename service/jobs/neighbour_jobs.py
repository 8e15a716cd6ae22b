"""Neighbour searches (probes): small jobs that use an encoder for someone who waits.

They have no ledger and may be lost with the store. Whatever they leave is in their job's folder,
under `probes/`, and is removed after a day.
"""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from service.errors import ServiceError, invalid
from service.files.safe_open import folder_exists
from service.jobs.idempotency import fingerprint
from service.jobs.planner import INGEST_POOL
from service.store.paging import PAGE_ROWS, each_row
from service.store.records import TERMINAL, JobRecord, NewJob, Submitted
from service.store.store import Store
from service.store.store_errors import NotFound, WrongState
from trainer.inference.neighbours.spec import NeighbourSearchSpec
from trainer.schema.artifact_names import TABLE, WEIGHTS
from trainer.schema.base import Record
from trainer.spec.job import JobSpec

FEATURES = "features"
WAITING_MAX = 20
KEPT_S = 24 * 3600.0
IMAGE = "image"
RETRIED = ("failed", "cancelled")
"""Statuses after which the same search may be submitted again."""


class StoredQuery(Record):
    """A query for neighbours, as the record of its job keeps it."""

    rows: list[int] | None
    checkpoint: int | None
    """Checkpoint as requested; in the record, that of the encoder that was chosen."""
    k: int
    is_image: bool


@dataclass(frozen=True, slots=True)
class Source:
    """Encoder of a search."""

    folder: str
    """Folder, relative to the data folder."""
    checkpoint: int | None
    """Step of the checkpoint; None for the published encoder."""
    sha256: str


@dataclass(frozen=True, slots=True)
class Probes:
    """Searches of one job. Every method may raise StoreUnavailable."""

    store: Store
    data_dir: Path
    job: JobRecord

    @property
    def folder(self) -> str:
        """Folder of all probes of the job, relative to the data folder."""
        # Made from the checked id, never from what the record says.
        return f"jobs/{self.job.id}/probes"

    def check(self, query: StoredQuery) -> Source:
        """Return the encoder to search with. Raises ServiceError if there is none."""
        if self.job.kind != "train":
            raise ServiceError("wrong_state", "An ingest job has no encoder.")
        self._check_rows(query.rows or [])
        waiting = self.store.jobs.counts(kind="probe")["queued"]
        if waiting >= WAITING_MAX:
            raise ServiceError("too_many_probes", f"{waiting} searches are already queued.")
        return self._checkpoint(query) if query.checkpoint is not None else self._best()

    def submit(self, query: StoredQuery, source: Source, *, probe_id: str) -> Submitted:
        """Queue a search. An uploaded image already lies in the search's folder.

        The same rows of the same encoder answer the probe that was made before.
        """
        folder = self.data_dir / self.folder / probe_id
        if not query.is_image:
            folder.mkdir(parents=True)
        stored = query.model_copy(update={"checkpoint": source.checkpoint})
        new = self._new(stored, source, probe_id)
        key = None if stored.is_image else self._key(stored, source)

        def submit() -> Submitted:
            return self.store.jobs.submit(
                new, job_id=probe_id, idempotency_key=key, fingerprint=key or ""
            )

        done = submit()
        if done.replayed and done.record is not None and done.record.status in RETRIED:
            forget(self.store, self.data_dir, done.record)
            done = submit()
        if done.job_id != probe_id:
            shutil.rmtree(folder, ignore_errors=True)
        return done

    def get(self, probe_id: str) -> JobRecord:
        """Return a search of the job. Raises NotFound, also for a search of another job."""
        record = self.store.jobs.get(probe_id)
        if record.kind != "probe" or record.folder != f"{self.folder}/{probe_id}":
            raise NotFound("probe", probe_id)
        return record

    def all(self) -> Iterator[JobRecord]:
        """Yield the probes of the job, newest first."""
        for record in each_probe(self.store):
            if record.folder.startswith(f"{self.folder}/"):
                yield record

    def _check_rows(self, rows: list[int]) -> None:
        try:
            dataset = self.store.datasets.get(self.job.dataset_id or "")
        except NotFound:
            hint = "Neighbors come from the job's dataset; to search in another one, train on it."
            raise ServiceError("wrong_state", "The job's dataset was deleted.", hint=hint) from None
        count = dataset.facts.rows if dataset.facts is not None else 0
        for index, row in enumerate(rows):
            if row >= count:
                raise invalid(f"#/rows/{index}", f"The dataset has rows 0 to {count - 1}.")

    def _best(self) -> Source:
        job = self.job
        files = {file.name: file.sha256 for file in job.artifacts}
        if job.artifacts_folder is not None and WEIGHTS in files:
            return Source(job.artifacts_folder, None, files.get(TABLE, files[WEIGHTS]))
        for checkpoint in self.store.jobs.checkpoints(job.id):
            if folder_exists(self.data_dir, checkpoint.path):
                return Source(checkpoint.path, checkpoint.step, checkpoint.manifest_sha256)
        raise ServiceError(
            "no_encoder", f"The job is {job.status} and has saved no checkpoint yet."
        )

    def _checkpoint(self, query: StoredQuery) -> Source:
        checkpoints = [
            checkpoint
            for checkpoint in self.store.jobs.checkpoints(self.job.id)
            if checkpoint.step == query.checkpoint
        ]
        for checkpoint in checkpoints:
            if folder_exists(self.data_dir, checkpoint.path):
                return Source(checkpoint.path, checkpoint.step, checkpoint.manifest_sha256)
        if not checkpoints:
            raise invalid("#/checkpoint", f"There is no checkpoint of step {query.checkpoint}.")
        raise ServiceError(
            "artifact_missing",
            f"The checkpoint of step {query.checkpoint} was replaced by newer ones.",
            hint="Choose one that the list of checkpoints calls available, or leave it out.",
        )

    def _new(self, query: StoredQuery, source: Source, probe_id: str) -> NewJob:
        folder = f"{self.folder}/{probe_id}"
        spec = NeighbourSearchSpec(
            job=JobSpec.model_validate_json(self.job.resolved_json),
            encoder=source.folder,
            checkpoint=source.checkpoint,
            encoder_sha256=source.sha256,
            features=f"{self.folder}/{FEATURES}",
            rows=tuple(query.rows or ()),
            image=f"{folder}/{IMAGE}" if query.is_image else None,
            k=query.k,
        )
        return NewJob(
            kind="probe",
            pool=INGEST_POOL,
            name=f"neighbors by {self.job.name}",
            spec_json=query.model_dump_json(),
            resolved_json=spec.model_dump_json(),
            inputs={"dataset": self.job.inputs.get("dataset", "")},
            folder=folder,
        )

    def _key(self, query: StoredQuery, source: Source) -> str:
        return f"probe:{self.job.id}:{source.sha256}:{fingerprint(query)}"


def each_probe(store: Store) -> Iterator[JobRecord]:
    """Yield the probes of all jobs, newest first."""
    return each_row(lambda after: store.jobs.list(kind="probe", after=after, limit=PAGE_ROWS))


def forget(store: Store, data_dir: Path, record: JobRecord) -> bool:
    """Remove a search; return False while a worker still holds it."""
    try:
        if record.status not in TERMINAL:
            store.jobs.cancel(record.id)
        store.jobs.delete(record.id)
    except NotFound:
        pass
    except WrongState:
        return False
    shutil.rmtree(data_dir / record.folder, ignore_errors=True)
    return True


def forget_of_job(store: Store, data_dir: Path, job_id: str) -> None:
    """Remove the records of a job that was deleted; its folder is gone already."""
    for record in list(each_probe(store)):
        if record.folder.startswith(f"jobs/{job_id}/probes/"):
            forget(store, data_dir, record)


def forget_old(store: Store, data_dir: Path, *, older_s: float = KEPT_S) -> int:
    """Remove old probes and features. Return how many were removed.

    Folders of probes that the store does not know are swept too: a lost store loses its probes.
    """
    before_s, removed = time.time() - older_s, 0
    for record in list(each_probe(store)):
        job_id = record.folder.split("/")[1]
        if record.created_at_s < before_s or not (data_dir / "jobs" / job_id).is_dir():
            removed += forget(store, data_dir, record)
    known_ids = {record.id for record in each_probe(store)}
    for folder in (data_dir / "jobs").glob("job_*/probes/probe_*"):
        if folder.name not in known_ids and _changed_s(folder) < before_s:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    for file in (data_dir / "jobs").glob(f"job_*/probes/{FEATURES}/*"):
        if _changed_s(file) < before_s:
            file.unlink(missing_ok=True)
            removed += 1
    return removed


def _changed_s(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0
