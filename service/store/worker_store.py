"""Register of workers. Seen by ticks: while Redis is away no worker counts as lost."""

import json
from dataclasses import dataclass

from service.store.decoding import as_worker
from service.store.records import DrainState, WorkerRecord
from service.store.redis_client import RedisClient
from service.store.store_errors import NotFound


@dataclass(frozen=True)
class Workers:
    """The registry of workers. Every method may raise StoreUnavailable."""

    client: RedisClient
    lease_ttl_ticks: int

    def beat(self, worker: WorkerRecord) -> DrainState:
        """Report that `worker` is alive. Return whether it is drained: claims no new job."""
        reply = self.client.fcall(
            "beat",
            *("id", worker.id, "pools", json.dumps(worker.pools), "device", worker.device),
            *("host", worker.host, "pid", worker.pid, "state", worker.state),
            *("job_id", worker.job_id or "", "seen_at_s", worker.seen_at_s),
            *("started_at_s", worker.started_at_s, "info", json.dumps(worker.info)),
            *("slots", worker.slots, "slots_busy", worker.slots_busy),
            *("jobs", json.dumps(worker.jobs)),
        )
        undrains = (
            reply[2] if len(reply) > 2 else 0
        )  # an API of an older version loaded the library
        return DrainState(draining=reply[1] == "1", undrains=int(undrains))

    def list(self) -> tuple[WorkerRecord, ...]:
        """Return every worker of the last day, by when it was last seen."""
        rows = self.client.fcall("worker_list")[1]
        ttl_ticks = self.lease_ttl_ticks
        return tuple(as_worker(row, silent_ticks=n, ttl_ticks=ttl_ticks) for row, n in rows)

    def drain(self, worker_id: str) -> None:
        """Let the worker claim no more jobs; its current jobs continue.

        Raises:
            NotFound: there is no such worker.
        """
        self._set_drain(worker_id, "1")

    def undrain(self, worker_id: str) -> None:
        """Let a drained worker claim jobs again, in all its slots. Has no effect on any other.

        Raises:
            NotFound: there is no such worker.
        """
        self._set_drain(worker_id, "0")

    def _set_drain(self, worker_id: str, flag: str) -> None:
        if self.client.fcall("worker_drain", worker_id, flag)[0] == "NOTFOUND":
            raise NotFound("worker", worker_id)

    def leave(self, worker_id: str) -> None:
        """Remove a worker that stopped on request."""
        self.client.fcall("worker_leave", worker_id)
