"""Counters that survive restarts, for Prometheus. The functions count in the same step."""

from dataclasses import dataclass

from service.store.keys import KEYS
from service.store.redis_client import RedisClient


@dataclass(frozen=True)
class Counters:
    """`submitted`, `finished:<status>`, `retries:<reason>` of trainings (of ingests with
    `ingest:` in front), `dataset_images:<ok|corrupt|skipped>` and `dataset_bytes`.
    """  # noqa: D205

    client: RedisClient

    def read(self) -> dict[str, int]:
        """Return every counter that has counted at least once."""
        rows = self.client.run(lambda client: client.hgetall(KEYS["counters"]))
        return {name: int(value) for name, value in rows.items()}
