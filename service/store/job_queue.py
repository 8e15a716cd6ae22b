"""The job queue as workers and reapers use it: claim, renew, report, end.

A lease is over when its worker did not renew for some ticks. From then on every call with its
token raises Fenced and changes nothing. All calls may be repeated.
"""

import json
import time
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, cast

import redis

from service.store.decoding import as_lease, checkpoint_json, files_json
from service.store.keys import KEYS
from service.store.records import CheckpointRecord, Desired, Lease, SeatTaken, Status
from service.store.redis_client import RedisClient
from service.store.store_errors import Fenced
from trainer.schema.events import DatasetFacts, FileRecord

LOSSES_MAX: Final = 20
"""Attempts in a row that may be lost before a new checkpoint; the job fails at the last."""
WAIT_MAX_S: Final = 5.0


class Offer(NamedTuple):
    """Slots that a worker offers with a claim."""

    worker_id: str
    free_slots: int
    total_slots: int
    endpoint: str = ""
    """`host:port` where the ranks of a gang could meet, should it get node rank 0. Without one it
    gets no seats."""


@dataclass(frozen=True)
class JobQueue:
    """Leases of jobs. Every method may raise StoreUnavailable; then call it again."""

    client: RedisClient
    lease_ttl_ticks: int
    _waiting: redis.Redis = field(repr=False)
    _appended: dict[str, int] = field(default_factory=dict, repr=False)

    def claim(
        self,
        *,
        pools: tuple[str, ...],
        worker_id: str,
        nonce: str,
        free_slots: int = 1,
        total_slots: int = 1,
    ) -> Lease | None:
        """Claim the next job of the first pool that has one for this worker; None if none has.

        The first job of a pool that needs at most `total_slots` is leased if it needs at most
        `free_slots`; otherwise it reserves them, and nothing behind it in its pool starts on this
        worker. Jobs that need more than `total_slots` are passed over and keep their place.

        The same `nonce` returns the same lease while that is alive, and None afterwards: use a
        new one for each claim. A drained worker gets None.
        """
        offer = Offer(worker_id, free_slots, total_slots)
        reply = self._claim(pools, nonce, offer)
        return as_lease(reply[1:]) if reply[0] == "OK" else None

    def claim_seat(
        self, *, pools: tuple[str, ...], nonce: str, offer: "Offer"
    ) -> Lease | SeatTaken | None:
        """Claim as `claim` does, also jobs of several nodes: they start with the last seat.

        Until then this returns SeatTaken. Claim again with the same `nonce`, more often than a
        lease is long, until it returns the lease, or None: then the seat was given back. Two
        claims of one worker never sit in the same gang.
        """
        reply = self._claim(pools, nonce, offer)
        if reply[0] == "SEATED":
            _, job_id, taken, nodes, slots = reply
            return SeatTaken(job_id=job_id, taken=taken, nodes=nodes, slots=slots)
        return as_lease(reply[1:]) if reply[0] == "OK" else None

    def leave_seat(self, nonce: str) -> None:
        """Give back the seat of this claim. Has no effect once its gang runs."""
        self.client.fcall("leave_seat", nonce)

    def wait(self, pools: tuple[str, ...], timeout_s: float) -> bool:
        """Wait until a pool may have a job (True), or for `timeout_s` (at most 5 s; False).

        Only a hint: claim afterwards in either case.
        """
        keys = [KEYS["wake"] + pool for pool in pools]
        block_s = min(timeout_s, WAIT_MAX_S)
        hint = self.client.run(lambda c: c.blpop(keys, timeout=block_s), client=self._waiting)
        return hint is not None

    def renew(self, lease: Lease) -> Desired:
        """Renew the lease for its full time. Return the state that the user wants the job in.

        Raises:
            Fenced: the lease is over.
        """
        reply = self._held(lease, "renew", self.lease_ttl_ticks)
        return cast(Desired, reply[1] or "run")

    def append(
        self, lease: Lease, events: list[str], progress: dict[str, Any] | None = None
    ) -> Desired:
        """Append `events` (JSON) to the job's stream and replace its progress.

        After StoreUnavailable, call again with the same events, followed by newer ones if there
        are any: events are numbered within the attempt, so none is lost or repeated.

        Raises:
            Fenced: the lease is over.
        """
        first = self._appended.get(lease.token, 0)
        text = json.dumps(progress) if progress is not None else ""
        reply = self._held(lease, "append", first, text, *events)
        self._appended[lease.token] = first + len(events)
        return cast(Desired, reply[1] or "run")

    def checkpoint(
        self, lease: Lease, *, step: int, path: str, manifest_sha256: str, size_bytes: int
    ) -> None:
        """Report a checkpoint that is complete on the disk; the job's pointer moves to it.

        Raises:
            Fenced: the lease is over, and the pointer stays.
        """
        record = CheckpointRecord(
            step=step,
            path=path,
            manifest_sha256=manifest_sha256,
            size_bytes=size_bytes,
            attempt=lease.attempt,
            created_at_s=time.time(),
        )
        self._held(lease, "checkpoint", step, path, checkpoint_json(record))

    def complete(
        self,
        lease: Lease,
        *,
        artifacts: tuple[FileRecord, ...],
        artifacts_folder: str,
        facts_json: str | None = None,
    ) -> None:
        """Report success. The dataset of an ingest becomes ready with these facts and this pack.

        Raises:
            Fenced: the lease is over, and nothing is published.
        """
        if facts_json is not None:
            DatasetFacts.model_validate_json(facts_json)
        files = files_json(artifacts)
        self._end(lease, "complete", files, artifacts_folder, facts_json or "")

    def fail(self, lease: Lease, *, code: str, message: str, hint: str, retry: bool) -> Status:
        """Report a failure by the user's fault; retried if `retry` and the budget allow it.

        Returns:
            The job's new status: `failed`, `queued`, or `cancelled` or `paused` as requested.

        Raises:
            Fenced: the lease is over.
        """
        reply = self._end(lease, "fail", code, message, hint, int(retry))
        return cast(Status, reply[1])

    def release(self, lease: Lease, *, code: str = "preempted", message: str = "") -> Status:
        """Return the job to the front of its pool, unless a stop was requested.

        `preempted` costs nothing; any other code is a loss of ours, and the job fails with it
        after twenty in a row without a new checkpoint.

        Returns:
            The job's new status: `queued`, `cancelled`, `paused` or `failed`.

        Raises:
            Fenced: the lease is over.
        """
        reply = self._end(lease, "release", code, message, LOSSES_MAX)
        return cast(Status, reply[1])

    def current_tick(self) -> int:
        """Return the current tick."""
        return int(self.client.run(lambda client: client.get(KEYS["tick"])) or 0)

    def tick(self, last: int) -> int:
        """End tick `last` and every lease that is over by then; return the current tick.

        Call it a tick's length after `last` was read, measured on a monotonic clock. Any
        number of reapers may: only one of them moves the tick.
        """
        return int(self.client.fcall("tick", last, time.time(), LOSSES_MAX)[1])

    def close(self) -> None:
        """Close the connection of `wait`."""
        self._waiting.close()

    def _claim(self, pools: tuple[str, ...], nonce: str, offer: "Offer") -> list[Any]:
        slots, lease = (offer.free_slots, offer.total_slots), (self.lease_ttl_ticks, time.time())
        return self.client.fcall(
            "claim", offer.worker_id, nonce, *lease, *slots, offer.endpoint, *pools
        )

    def _held(self, lease: Lease, verb: str, *args: str | float) -> list[Any]:
        reply = self.client.fcall(verb, lease.job_id, _wire_token(lease), *args)
        if reply[0] == "FENCED":
            self._appended.pop(lease.token, None)
            raise Fenced(lease.job_id)
        return reply

    def _end(self, lease: Lease, verb: str, *args: str | float) -> list[Any]:
        reply = self._held(lease, verb, time.time(), *args)
        self._appended.pop(lease.token, None)
        return reply


def _wire_token(lease: Lease) -> str:
    """Return the token with the node rank behind it, which only `renew` and `release` accept."""
    if lease.seat is None or lease.seat.node_rank == 0:
        return lease.token
    return f"{lease.token}/{lease.seat.node_rank}"
