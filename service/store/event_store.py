"""The event stream of each job: status changes by the store, everything else by the trainer."""

from dataclasses import dataclass

from service.store.event_subscriptions import EventBroadcaster
from service.store.keys import KEYS
from service.store.redis_client import RedisClient


@dataclass(frozen=True)
class Events:
    """Reads what happened to a job."""

    client: RedisClient

    def read(self, job_id: str, *, after: str = "-", limit: int = 100) -> list[tuple[str, str]]:
        """Return up to `limit` events after the id `after` (`-`: from the first), as (id, JSON).

        Empty for an unknown job. The newest 10,000 or so of each job are kept.
        """
        key, start = KEYS["ev"] + job_id, after if after == "-" else f"({after}"
        rows = self.client.run(lambda client: client.xrange(key, min=start, count=limit))
        return [(id, fields["e"]) for id, fields in rows]

    def broadcaster(self) -> EventBroadcaster:
        """Return a broadcaster that follows many jobs with one connection and one thread."""
        return EventBroadcaster(self.client, read=self.read)
