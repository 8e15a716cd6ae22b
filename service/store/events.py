"""The event stream of each job: status changes by the store, everything else by the trainer."""

from dataclasses import dataclass

from service.store.event_subscriptions import EventTail
from service.store.keys import KEYS
from service.store.redis_client import Link


@dataclass(frozen=True)
class Events:
    """Reads what happened to a job."""

    link: Link

    def read(self, job_id: str, *, after: str = "-", limit: int = 100) -> list[tuple[str, str]]:
        """Up to `limit` events behind the id `after` (`-`: from the first), as (id, JSON).

        Empty for an unknown job. The newest 10,000 or so of each job are kept.
        """
        key, start = KEYS["ev"] + job_id, after if after == "-" else f"({after}"
        rows = self.link.run(lambda client: client.xrange(key, min=start, count=limit))
        return [(id, fields["e"]) for id, fields in rows]

    def tail(self) -> EventTail:
        """Follows the events of many jobs with one connection and one thread."""
        return EventTail(self.link, read=self.read)
