"""Jobs as the API uses them: submit, read, control, delete.

A control that is asked again with the same `op` is done once.
"""

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from service.store.decoding import as_attempt, as_checkpoint, as_job
from service.store.keys import KEYS, shape_of
from service.store.records import (
    STATUSES,
    AttemptRecord,
    CheckpointRecord,
    Depth,
    JobRecord,
    Kind,
    NewJob,
    Page,
    ShapeDepth,
    Status,
    Submission,
    Submitted,
)
from service.store.redis_client import RedisClient
from service.store.store_errors import IdempotencyConflict, NotFound, StoreError, WrongState


@dataclass(frozen=True)
class Jobs:
    """The records of jobs. Every method may raise StoreUnavailable."""

    client: RedisClient

    def submit(
        self,
        new: NewJob,
        *,
        job_id: str,
        idempotency_key: str | None = None,
        fingerprint: str = "",
        created_at_s: float | None = None,
    ) -> Submitted:
        """Queue `new` under `job_id`. Ids must sort by time.

        For 24 hours the same `idempotency_key` with the same `fingerprint` of the body returns
        the job that was made first. An ingest moves its dataset to `preparing` in the same step.
        `created_at_s` defaults to now.

        Raises:
            IdempotencyConflict: the key was used with another fingerprint.
            NotFound, WrongState: the dataset of an ingest does not exist, or needs no ingest.
        """
        submission = Submission(
            new=new,
            job_id=job_id,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint,
            created_at_s=created_at_s or time.time(),
        )
        (done,) = self.submit_all([submission])
        if isinstance(done, StoreError):
            raise done
        return done

    def submit_all(self, batch: Sequence[Submission]) -> list[Submitted | StoreError]:
        """Submit several jobs. Return for each what `submit` returns or raises. Redis syncs once.

        A pipeline would not do: Redis reads 16 KiB, runs the complete commands in them, and syncs.
        """
        if not batch:
            return []
        each = [_submit_args(submission) for submission in batch]
        flat = [arg for args in each for arg in args]
        _, replies = self.client.fcall("submit", len(each[0]), *flat)
        return [_submitted(*pair) for pair in zip(batch, replies, strict=True)]

    def get(self, id: str) -> JobRecord:
        """Return the job as it is now.

        Raises:
            NotFound: there is no such job.
        """
        return _record(id, self.client.fcall("job_get", id))

    def list(
        self,
        *,
        status: Status | None = None,
        kind: Kind = "train",
        after: str | None = None,
        limit: int = 20,
    ) -> Page[JobRecord]:
        """Return up to `limit` jobs, newest first, older than the id `after`."""
        _, rows = self.client.fcall("job_list", kind, status or "all", after or "", limit + 1)
        records = tuple(as_job(flat, position) for flat, position in rows[:limit])
        return Page(records, has_more=len(rows) > limit)

    def cancel(self, id: str, *, op: str | None = None) -> JobRecord:
        """Cancel the job, or ask its worker to. Has no effect on a cancelled job.

        Raises:
            NotFound, WrongState: there is no such job, or it ended otherwise.
        """
        return self._control(id, "cancel", op)

    def pause(self, id: str, *, op: str | None = None) -> JobRecord:
        """Take the job off the queue, or ask its worker to checkpoint and stop.

        Raises:
            NotFound, WrongState: there is no such job, or it ended or is being cancelled.
        """
        return self._control(id, "pause", op)

    def resume(self, id: str, *, op: str | None = None) -> JobRecord:
        """Queue a paused, cancelled or failed job again; it resumes from its last checkpoint.

        Raises:
            NotFound, WrongState: there is no such job, or it has not stopped, or it succeeded.
        """
        return self._control(id, "resume", op)

    def delete(self, id: str, *, op: str | None = None) -> None:
        """Delete an ended job. The caller removes its files.

        A repeated `op` is done once.

        Raises:
            NotFound, WrongState: there is no such job, or it has not ended.
        """
        match self.client.fcall("delete", id, op or uuid.uuid4().hex):
            case ["NOTFOUND"]:
                raise NotFound("job", id)
            case ["WRONGSTATE", status]:
                raise WrongState(status, "delete", f"The job is {status}; cancel it first.")

    def forget_checkpoints(self, id: str) -> int:
        """Forget the checkpoints of a job that has ended. Return how many attempts it had.

        The caller removes their files.

        Raises:
            NotFound, WrongState: there is no such job, or it has not ended.
        """
        return int(self._of_ended(id, "forget_checkpoints"))

    def trim_events(self, id: str) -> int:
        """Remove all events of a job that has ended but the last. Return how many those were.

        Raises:
            NotFound, WrongState: there is no such job, or it has not ended.
        """
        return int(self._of_ended(id, "trim_events"))

    def _of_ended(self, id: str, function: str) -> int:
        match self.client.fcall(function, id):
            case ["NOTFOUND"]:
                raise NotFound("job", id)
            case ["WRONGSTATE", status]:
                raise WrongState(status, function, f"The job is {status} and still needs them.")
            case [_, count]:
                return int(count)
        raise AssertionError(function)

    def attempts(self, id: str) -> tuple[AttemptRecord, ...]:
        """Return every attempt, oldest first; empty for an unknown job."""
        rows = self.client.run(lambda client: client.hgetall(KEYS["attempts"] + id))
        return tuple(as_attempt(n, rows[n]) for n in sorted(rows, key=int))

    def checkpoints(self, id: str) -> tuple[CheckpointRecord, ...]:
        """Return every checkpoint reported, newest first; older ones may be removed by now."""
        rows = self.client.run(lambda client: client.zrevrange(KEYS["ckpts"] + id, 0, -1))
        return tuple(as_checkpoint(row) for row in rows)

    def counts(self, *, kind: Kind = "train") -> dict[Status, int]:
        """Return the number of jobs in each status."""

        def sizes_of(client: redis.Redis) -> object:
            pipe = client.pipeline(transaction=True)
            for status in STATUSES:
                pipe.zcard(f"{KEYS['jobs']}{kind}:{status}")
            return pipe.execute()

        sizes = self.client.run(sizes_of)
        return dict(zip(STATUSES, sizes, strict=True))

    def pools(self) -> tuple[str, ...]:
        """Return every pool that ever had a job, sorted."""
        return tuple(sorted(self.client.run(lambda client: client.smembers(KEYS["pools"]))))

    def depth(self, pool: str) -> Depth:
        """Return the number of jobs of each shape in `pool`, and since when the first waits."""
        _, rows = self.client.fcall("queue_depth", pool)
        return Depth({shape_of(name): ShapeDepth(jobs, float(since)) for name, jobs, since in rows})

    def _control(self, id: str, verb: str, op: str | None) -> JobRecord:
        reply = self.client.fcall("control", id, verb, op or uuid.uuid4().hex, time.time())
        if reply[0] == "WRONGSTATE":
            _, status, *more = reply
            raise WrongState(status, verb, _reason(verb, status, more[0] if more else ""))
        return _record(id, reply)


def _submit_args(submission: Submission) -> list[str | float]:
    new = submission.new
    return [
        *("id", submission.job_id, "kind", new.kind, "pool", new.pool, "name", new.name),
        *("spec_json", new.spec_json, "resolved_json", new.resolved_json),
        *("reasons_json", new.reasons_json, "inputs", json.dumps(new.inputs)),
        *("folder", new.folder, "dataset_id", new.dataset_id or ""),
        *("max_failures", new.max_failures, "now", submission.created_at_s),
        *("slots", new.slots, "nodes", new.nodes),
        *("idem_key", submission.idempotency_key or "", "fingerprint", submission.fingerprint),
    ]


def _submitted(submission: Submission, reply: Sequence[Any]) -> Submitted | StoreError:
    match reply:
        case ["OK", made, replayed, *fields]:
            record = as_job(*fields) if fields else None
            return Submitted(job_id=made, replayed=bool(replayed), record=record)
        case ["CONFLICT"]:
            return IdempotencyConflict(submission.idempotency_key or "")
        case ["NOTFOUND", *missing]:
            return NotFound("dataset", missing[0] if missing else submission.new.dataset_id or "")
        case [_, status]:
            return WrongState(status, "ingest", _ingest_reason(status))
    raise AssertionError(reply)


def _record(id: str, reply: list[Any]) -> JobRecord:
    if reply[0] == "NOTFOUND":
        raise NotFound("job", id)
    return as_job(reply[1], reply[2])


def _reason(verb: str, status: str, why: str) -> str:
    if why == "replaced":
        return "The dataset was ingested again since; this job cannot be resumed."
    if why == "dataset":
        return "Its dataset was deleted; submit a new job with another dataset."
    if why == "cancel":
        return "The job is being cancelled; resume it when it is cancelled."
    if status == "stopping":
        return "The job is still stopping; resume it when it has stopped."
    if status in ("queued", "running"):
        return f"The job is already {status}."
    return f"The job is {status}, so it cannot be {_PAST[verb]}."


_PAST = {"cancel": "cancelled", "pause": "paused", "resume": "resumed"}


def _ingest_reason(status: str) -> str:
    return f"The dataset is {status}: its content can be ingested only once."
