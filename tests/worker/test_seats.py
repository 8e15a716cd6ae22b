"""A supervisor's claims: how soon it looks again, and while gangs form or give seats back."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from service.store.job_queue import JobQueue, Offer
from service.store.records import Lease
from service.store.store import Store
from tests.support.service.redis import empty, submitted, ticks
from worker.settings import WorkerSettings
from worker.slots import SlotPool
from worker.supervisor import BUSY_WAIT_S, IDLE_WAIT_S, Supervisor

FORM_TICKS, TTL, LONGEST_REST = 60, 15, 60


@pytest.fixture
def supervisor(redis_store: Store, tmp_path: Path) -> Supervisor:
    """Return a supervisor of one slot that starts no child."""
    empty(redis_store)
    settings = WorkerSettings(
        api_key="k" * 32, data_dir=tmp_path, node_address="127.0.0.1", pools=("train",)
    )
    context: Any = SimpleNamespace(settings=settings, store=redis_store)
    made = Supervisor(context, "w1", SlotPool(["cpu"]), device="cpu", info={})
    made._attempts = Started()  # type: ignore[assignment]
    return made


class Started:
    """Leases in place of running attempts."""

    def __init__(self) -> None:
        self.leases: list[Lease] = []
        self.jobs: tuple[str, ...] = ()

    def start(self, lease: Lease) -> None:
        self.leases.append(lease)


def test_a_worker_claims_again_after_its_seat_was_given_back(
    redis_store: Store, supervisor: Supervisor
) -> None:
    gang = submitted(redis_store, nodes=2)
    for _ in range(FORM_TICKS // TTL * 2 + 1):
        assert supervisor._next_lease() is None
        ticks(redis_store, TTL // 2)
    ticks(redis_store, FORM_TICKS)
    assert supervisor._next_lease() is None
    redis_store.jobs.cancel(gang)
    single = submitted(redis_store)
    leases = [supervisor._next_lease() for _ in range(2)]
    assert [lease.job_id for lease in leases if lease] == [single]


def test_a_seated_worker_asks_with_the_same_claim_until_its_gang_is_whole(
    redis_store: Store, supervisor: Supervisor
) -> None:
    gang = submitted(redis_store, nodes=2)
    assert supervisor._next_lease() is None
    ticks(redis_store, TTL - 1)
    assert supervisor._next_lease() is None
    ticks(redis_store, TTL - 1)
    offer = Offer("w2", 1, 1, endpoint="127.0.0.1:1")
    other = redis_store.queue.claim_seat(pools=("train",), nonce="n2", offer=offer)
    mine = supervisor._next_lease()
    assert isinstance(other, Lease)
    assert isinstance(mine, Lease)
    assert (mine.job_id, mine.token) == (gang, other.token)
    assert mine.seat is not None
    assert mine.seat.node_rank == 0


@pytest.mark.parametrize(("jobs", "wait_s"), [((), IDLE_WAIT_S), (("job_a",), BUSY_WAIT_S)])
def test_a_worker_whose_attempts_may_free_slots_soon_claims_again(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, jobs: tuple[str, ...], wait_s: float
) -> None:
    """While it waits at the store, the end of an attempt does not wake it."""
    waits: list[float] = []
    monkeypatch.setattr(JobQueue, "wait", lambda _self, _pools, timeout_s: waits.append(timeout_s))
    supervisor._attempts.jobs = jobs  # type: ignore[misc]
    supervisor._claim()
    assert waits == [wait_s]
