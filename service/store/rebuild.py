"""Rebuild of a wiped server: its identity, and records as they were. Existing ones stay."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from service.store.dataset_store import raise_refusal
from service.store.decoding import checkpoint_json, files_json
from service.store.keys import KEYS
from service.store.records import AttemptRecord, CheckpointRecord, DatasetRecord, NewJob, Status
from service.store.redis_client import RedisClient
from trainer.schema.events import FileRecord

Restored = Literal["made", "there", "taken", "orphan"]
"""`taken`: another job has its idempotency key, its dataset or its name. `orphan`: an ingest
without a dataset."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OldJob:
    """A job at rest, or queued, as the disk knows it."""

    id: str
    new: NewJob
    status: Status
    code: str = ""
    message: str = ""
    hint: str = ""
    created_at_s: float
    started_at_s: float | None = None
    finished_at_s: float | None = None
    attempt: int = 0
    """Highest attempt number ever seen; the next attempt gets a higher one."""
    failures: int = 0
    losses: int = 0
    progress: dict[str, Any]
    attempts: tuple[AttemptRecord, ...] = ()
    checkpoints: tuple[CheckpointRecord, ...] = ()
    """Checkpoints, newest last; the job's pointer is at the last one."""
    artifacts: tuple[FileRecord, ...] = ()
    artifacts_folder: str | None = None
    idem_key: str = ""
    fingerprint: str = ""
    idem_s: int = 0
    """Seconds for which the key still answers with this job."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OldDataset:
    """A dataset as the disk knows it."""

    record: DatasetRecord
    named_at_s: float | None = None
    """Unix time when it took its name; None if it never did."""
    has_name: bool = True
    """True if its name leads to it, and not to another version."""
    is_open: bool = False
    """True if it may never have been accepted: nothing came after its create."""
    idem_key: str = ""
    fingerprint: str = ""
    idem_s: int = 0
    """Seconds for which the key still answers with this dataset."""


@dataclass(frozen=True)
class Rebuild:
    """Restores records. Every method may raise StoreUnavailable; then call it again."""

    client: RedisClient

    def identity(self) -> str | None:
        """Return the identity of the server; None for a new or an emptied one."""
        value: str | None = self.client.run(lambda client: client.get(KEYS["store"]))
        return value

    def identify(self, identity: str) -> bool:
        """Give the server an identity; False if it has another."""
        reply = self.client.run(lambda client: client.fcall("moco_identify", 0, identity))
        return bool(reply[0] == "OK")

    def jobs(self, olds: Sequence[OldJob]) -> list[Restored]:
        """Restore jobs, queued ones behind each other in this order."""
        return self._all("restore", [[_job_json(old)] for old in olds])

    def datasets(self, olds: Sequence[OldDataset]) -> list[Restored]:
        """Restore datasets, before their ingests."""
        return self._all("ds_restore", [[_dataset_json(old)] for old in olds])

    def delete_dataset(self, id: str, *, op: str) -> None:
        """Delete as `Datasets.delete` does, also in a server that is being rebuilt."""
        raise_refusal(id, self.client.run(lambda client: client.fcall("moco_ds_delete", 0, id, op)))

    def present(self, ids: Sequence[str], *, what: Literal["job", "ds"]) -> list[bool]:
        """Return for each of these whether the server has it."""

        def ask(client: Any) -> object:  # noqa: ANN401  # the driver's type stays in `link`
            pipe = client.pipeline(transaction=False)
            for id in ids:
                pipe.exists(KEYS[what] + id)
            return pipe.execute()

        return [bool(exists) for exists in self.client.run(ask)] if ids else []

    def _all(self, name: str, calls: list[list[str]]) -> list[Restored]:
        def ask(client: Any) -> object:  # noqa: ANN401
            pipe = client.pipeline(transaction=False)
            for call in calls:
                pipe.fcall(f"moco_{name}", 0, *call)
            return pipe.execute()

        return [_verdict(reply) for reply in self.client.run(ask)] if calls else []


def _verdict(reply: list[Any]) -> Restored:
    match reply:
        case ["OK", made]:
            return "made" if made else "there"
        case ["TAKEN", *_]:
            return "taken"
    return "orphan"


def _job_json(old: OldJob) -> str:
    """Encode the job as one argument of strings: sixty arguments would cost too much."""
    new = old.new
    values: dict[str, str | float | None] = {
        "id": old.id,
        **{name: getattr(new, name) for name in ("kind", "pool", "name", "spec_json", "folder")},
        "resolved_json": new.resolved_json,
        "reasons_json": new.reasons_json,
        "inputs": json.dumps(new.inputs),
        "dataset_id": new.dataset_id,
        "max_failures": new.max_failures,
        "slots": new.slots,
        "nodes": new.nodes,
        "now": old.created_at_s,
        **{name: getattr(old, name) for name in ("status", "code", "message", "hint")},
        "started_at_s": old.started_at_s,
        "finished_at_s": old.finished_at_s or time.time(),
        **{name: getattr(old, name) for name in ("attempt", "failures", "losses")},
        "progress": json.dumps(old.progress),
        "attempts": json.dumps({str(row.attempt): _attempt_json(row) for row in old.attempts}),
        "checkpoints": json.dumps([(row.step, checkpoint_json(row)) for row in old.checkpoints]),
        "checkpoint": old.checkpoints[-1].path if old.checkpoints else None,
        "checkpoint_step": old.checkpoints[-1].step if old.checkpoints else 0,
        "artifacts": files_json(old.artifacts) if old.artifacts_folder else None,
        "artifacts_folder": old.artifacts_folder,
        **{name: getattr(old, name) for name in ("idem_key", "fingerprint", "idem_s")},
    }
    return json.dumps({name: "" if value is None else str(value) for name, value in values.items()})


def _dataset_json(old: OldDataset) -> str:
    values: dict[str, object] = asdict(old.record)
    values |= {
        "options": old.record.options.model_dump_json(),
        "facts": old.record.facts.model_dump_json() if old.record.facts else None,
        "replace": _flag(old.record.replace),
        "named_at_s": old.named_at_s,
        "has_name": _flag(old.has_name),
        "is_open": _flag(old.is_open),
        **{name: getattr(old, name) for name in ("idem_key", "fingerprint", "idem_s")},
    }
    del values["is_current"]
    return json.dumps({name: str(value) for name, value in values.items() if value is not None})


def _flag(is_set: bool) -> str:  # as Redis keeps it
    return "1" if is_set else ""


def _attempt_json(row: AttemptRecord) -> str:
    return json.dumps({name: value for name, value in asdict(row).items() if name != "attempt"})
