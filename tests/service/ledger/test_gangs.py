"""A job of several nodes, rebuilt from the disk: what ended has ended, what ran is queued again."""

from pathlib import Path

import pytest

from service.ids import new_id
from service.ledger.ledger_writer import AttemptLedger
from service.ledger.reconcile import reconcile
from service.store.job_queue import Offer
from service.store.records import Lease, NewJob
from service.store.store import Store
from service.store.store_errors import Fenced
from tests.support.service.job_lives import World
from tests.support.service.redis import empty, fresh_id

Member = tuple[Lease, AttemptLedger]


@pytest.fixture
def world(redis_store: Store, tmp_path: Path) -> World:
    empty(redis_store)
    return World(redis_store, tmp_path)


def submit(world: World, *, slots: int = 2, nodes: int = 2) -> str:
    job_id = new_id("job")
    new = NewJob(
        kind="train",
        pool="train",
        name="a gang",
        spec_json="{}",
        resolved_json="{}",
        folder=f"jobs/{job_id}",
        slots=slots,
        nodes=nodes,
    )
    return world.journal.submit(new, job_id=job_id).job_id


def seated(world: World, *, nodes: int = 2) -> list[Lease]:
    """The leases of the next gang, by node rank."""
    nonces = [fresh_id("nonce") for _ in range(nodes)]

    def claim(nonce: str) -> object:
        offer = Offer(f"worker-{nonce}", 2, 2, endpoint=f"{nonce}:1")
        return world.store.queue.claim_seat(pools=("train",), nonce=nonce, offer=offer)

    for nonce in nonces:
        claim(nonce)
    return [lease for nonce in nonces if isinstance(lease := claim(nonce), Lease)]


def begin(world: World, lease: Lease) -> Member:
    folder = world.data_dir / lease.folder / "attempts" / str(lease.attempt)
    if lease.seat and lease.seat.node_rank == 0:
        folder.mkdir(parents=True)
    ledger = AttemptLedger(folder, lease)
    ledger.claimed()
    return lease, ledger


def rebuilt(world: World) -> None:
    world.wipe()
    assert not reconcile(world.store, world.data_dir).damaged


def test_what_node_rank_0_completed_stays_completed(world: World) -> None:
    job = submit(world)
    members = [begin(world, lease) for lease in reversed(seated(world))]
    world.leases[job] = members[1]
    world.complete(job)
    rebuilt(world)
    record = world.store.jobs.get(job)
    assert (record.status, record.attempt, record.slots, record.nodes) == ("succeeded", 1, 2, 2)
    assert record.losses == 0


def test_what_a_further_worker_released_is_queued_and_no_loss(world: World) -> None:
    job = submit(world)
    leases = seated(world)
    _, (lease, ledger) = [begin(world, lease) for lease in leases]
    status = world.store.queue.release(lease, code="preempted")
    ledger.ended("release", status, why=("preempted", "", ""), progress={})
    before = world.store.jobs.get(job)
    rebuilt(world)
    record = world.store.jobs.get(job)
    assert (record.status, record.attempt, record.losses) == ("queued", 1, 0)
    assert (record.status, record.losses) == (before.status, before.losses)
    assert [row.outcome for row in world.store.jobs.attempts(job)] == ["released"]
    assert [lease.attempt for lease in seated(world)] == [2, 2]


@pytest.mark.parametrize("ranks", [(0,), (1,), (0, 1), ()])
def test_what_ran_is_queued_again_under_a_new_number(world: World, ranks: tuple[int, ...]) -> None:
    """Also when only some of its workers had begun: a number never comes twice on the disk."""
    job = submit(world)
    leases = seated(world)
    for rank in ranks:
        begin(world, leases[rank])
    rebuilt(world)
    record = world.store.jobs.get(job)
    assert (record.status, record.attempt) == ("queued", 1 if ranks else 0)
    for lease in leases:
        with pytest.raises(Fenced):
            world.store.queue.renew(lease)
    again = seated(world)
    assert [lease.attempt for lease in again] == [record.attempt + 1] * 2
    for lease in again:
        begin(world, lease)


def test_the_shape_of_a_queued_job_is_kept(world: World) -> None:
    wide, gang = submit(world, slots=4, nodes=1), submit(world, slots=2, nodes=2)
    rebuilt(world)
    assert world.store.jobs.depth("train").shapes.keys() == {(4, 1), (2, 2)}
    assert [world.store.jobs.get(id).queue_position for id in (wide, gang)] == [1, 2]
    assert world.claim() is None, "a worker of one slot fits neither"
