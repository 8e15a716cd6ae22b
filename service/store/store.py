"""The store as one object: opened once in main and passed down."""

from dataclasses import dataclass

from service.store import durability
from service.store.counters import Counters
from service.store.dataset_store import Datasets
from service.store.embedded.server import running_url
from service.store.event_store import Events
from service.store.job_queue import WAIT_MAX_S, JobQueue
from service.store.job_store import Jobs
from service.store.rebuild import Rebuild
from service.store.redis_client import RedisClient
from service.store.store_errors import Misconfigured
from service.store.store_settings import StoreSettings
from service.store.worker_store import Workers


@dataclass(frozen=True)
class Store:
    """Everything that Redis keeps. Safe to share between threads, not between processes."""

    jobs: Jobs
    queue: JobQueue
    events: Events
    datasets: Datasets
    workers: Workers
    counters: Counters
    rebuild: Rebuild
    client: RedisClient

    def ping(self) -> None:
        """Check that the server answers.

        Raises:
            StoreUnavailable: it does not.
        """
        self.client.run(lambda client: client.ping())

    def close(self) -> None:
        """Close all connections."""
        self.client.close()
        self.queue.close()


def open_store(settings: StoreSettings) -> Store:
    """Connect, refuse a server that could lose writes, and load the functions.

    Raises:
        Misconfigured: no server is named and none is embedded, or it could lose writes.
        StoreUnavailable: the server does not answer.
    """
    url = settings.redis_url or running_url(settings.data_dir)
    if url is None:
        raise Misconfigured("No Redis configured. Set MOCO_REDIS_URL, or start one with `moco up`.")
    client = RedisClient(url, timeout_s=settings.redis_timeout_s)
    durability.check(client)
    client.load()
    ttl_ticks = settings.lease_ttl_ticks
    return Store(
        jobs=Jobs(client),
        queue=JobQueue(client, ttl_ticks, client.blocking(block_s=WAIT_MAX_S)),
        events=Events(client),
        datasets=Datasets(client),
        workers=Workers(client, ttl_ticks),
        counters=Counters(client),
        rebuild=Rebuild(client),
        client=client,
    )
