"""Decoding of Redis replies into the store's records. Pure functions."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

from service.store.records import (
    AttemptRecord,
    CheckpointRecord,
    DatasetRecord,
    DatasetStatus,
    JobRecord,
    Kind,
    Lease,
    Seat,
    Status,
    WorkerRecord,
    WorkerState,
)
from trainer.data.spec import StoredOptions
from trainer.schema.choices import StoredAs
from trainer.schema.events import DatasetFacts, FileRecord


def as_fields(flat: Sequence[str]) -> dict[str, str]:
    """Return `[name, value, name, value, ...]` as a dict."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def as_job(flat: Sequence[str], position: int) -> JobRecord:
    """Decode a job from its hash; `position` is 0 unless it is queued."""
    row = as_fields(flat)
    return JobRecord(
        id=row["id"],
        kind=cast(Kind, row["kind"]),
        pool=row["pool"],
        name=row["name"],
        status=cast(Status, row["status"]),
        code=row["code"],
        message=row["message"],
        hint=row["hint"],
        created_at_s=float(row["created_at_s"]),
        started_at_s=_seconds(row.get("started_at_s")),
        finished_at_s=_seconds(row.get("finished_at_s")),
        attempt=int(row["attempt"]),
        failures=int(row["failures"]),
        losses=int(row["losses"]),
        worker_id=row.get("worker_id") or None,
        spec_json=row["spec_json"],
        resolved_json=row["resolved_json"],
        reasons_json=row["reasons_json"],
        inputs=json.loads(row["inputs"]),
        folder=row["folder"],
        dataset_id=row["dataset_id"] or None,
        progress=json.loads(row.get("progress") or "{}"),
        checkpoint=row.get("checkpoint") or None,
        checkpoint_step=int(row["checkpoint_step"]),
        artifacts=_files(row.get("artifacts")),
        artifacts_folder=row.get("artifacts_folder"),
        version=int(row["version"]),
        queue_position=position or None,
        slots=int(row.get("slots") or 1),
        nodes=int(row.get("nodes") or 1),
        seats=int(row.get("seats", 0)),
    )


def as_lease(reply: Sequence[Any]) -> Lease:
    """Decode a lease from the reply of `claim`."""
    job_id, kind, pool, attempt, token, spec_json, inputs, folder, *more = reply
    dataset_id, checkpoints, slots, seat = more
    return Lease(
        job_id=job_id,
        kind=cast(Kind, kind),
        pool=pool,
        attempt=int(attempt),
        token=token,
        spec_json=spec_json,
        inputs=json.loads(inputs),
        folder=folder,
        checkpoints=tuple(as_checkpoint(row).path for row in checkpoints),
        dataset_id=dataset_id or None,
        slots=int(slots),
        seat=Seat(node_rank=seat[0], nodes=seat[1], endpoint=seat[2]) if seat else None,
    )


def as_checkpoint(text: str) -> CheckpointRecord:
    """Decode a checkpoint from its JSON; fields of a newer version are ignored."""
    row = json.loads(text)
    return CheckpointRecord(
        **{name: row[name] for name in CheckpointRecord.__slots__ if name in row}
    )


def checkpoint_json(record: CheckpointRecord) -> str:
    """Encode a checkpoint as JSON."""
    return json.dumps(asdict(record))


def as_attempt(number: str, text: str) -> AttemptRecord:
    """Decode an attempt from its number and its JSON."""
    row = json.loads(text)
    return AttemptRecord(
        attempt=int(number),
        worker_id=row["worker_id"],
        started_at_s=float(row["started_at_s"]),
        ended_at_s=_seconds(row.get("ended_at_s")),
        outcome=row.get("outcome"),
        code=row.get("code", ""),
        message=row.get("message", ""),
    )


def as_dataset(flat: Sequence[str]) -> DatasetRecord:
    """Decode a dataset from its hash."""
    row = as_fields(flat)
    facts = row.get("facts")
    return DatasetRecord(
        id=row["id"],
        name=row["name"],
        format=row["format"],
        store_as=cast(StoredAs, row.get("store_as", "pixels")),
        options=StoredOptions.model_validate_json(row.get("options") or "{}"),
        status=cast(DatasetStatus, row["status"]),
        size_bytes=int(row["size_bytes"]) if row.get("size_bytes") else None,
        sha256=row.get("sha256") or None,
        source=row.get("source") or None,
        created_at_s=float(row["created_at_s"]),
        code=row.get("code", ""),
        message=row.get("message", ""),
        hint=row.get("hint", ""),
        facts=DatasetFacts.model_validate_json(facts) if facts else None,
        pack=row.get("pack") or None,
        job_id=row.get("job_id"),
        replace=row.get("replace") == "1",
        is_current=row.get("current") == "1",
    )


def as_worker(flat: Sequence[str], *, silent_ticks: int, ttl_ticks: int) -> WorkerRecord:
    """Decode a worker from its hash and the ticks since it was last seen."""
    row = as_fields(flat)
    state = cast(WorkerState, row["state"])
    if row.get("drain") == "1":
        state = "draining"
    if silent_ticks >= ttl_ticks:
        state = "lost"
    return WorkerRecord(
        id=row["id"],
        pools=tuple(json.loads(row["pools"])),
        device=row["device"],
        host=row["host"],
        pid=int(row["pid"]),
        state=state,
        job_id=row["job_id"] or None,
        seen_at_s=float(row["seen_at_s"]),
        started_at_s=float(row["started_at_s"]),
        slots=int(row.get("slots", 1)),
        slots_busy=int(row.get("slots_busy", 1 if row["job_id"] else 0)),
        jobs=tuple(json.loads(row.get("jobs", "[]"))),
        info=json.loads(row["info"]),
    )


def files_json(files: Sequence[FileRecord]) -> str:
    """Encode published files as JSON."""
    return json.dumps([file.model_dump() for file in files])


def _files(text: str | None) -> tuple[FileRecord, ...]:
    return tuple(FileRecord.model_validate(row) for row in json.loads(text or "[]"))


def _seconds(text: str | None) -> float | None:
    return float(text) if text else None
