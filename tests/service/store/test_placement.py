"""Placement: which job starts on which worker, by the slots that both have."""

from service.store.records import Lease
from service.store.store import Store
from tests.support.service.redis import fresh_id, new_job, submitted, worker

POOL = ("train",)


def claim(
    store: Store,
    *,
    free: int,
    total: int = 8,
    worker_id: str = "w1",
    pools: tuple[str, ...] = POOL,
) -> Lease | None:
    return store.queue.claim(
        pools=pools,
        worker_id=worker_id,
        nonce=fresh_id("nonce"),
        free_slots=free,
        total_slots=total,
    )


def job_of(lease: Lease | None) -> str | None:
    return lease.job_id if lease else None


def test_a_lease_tells_its_slots(redis_store: Store) -> None:
    wide, narrow = submitted(redis_store, slots=4), submitted(redis_store)
    first, second = claim(redis_store, free=8), claim(redis_store, free=4)
    assert first is not None
    assert second is not None
    assert (first.job_id, first.slots) == (wide, 4)
    assert (second.job_id, second.slots) == (narrow, 1)
    assert redis_store.jobs.get(wide).slots == 4


def test_the_head_reserves_free_slots_until_it_fits(redis_store: Store) -> None:
    singles = [submitted(redis_store) for _ in range(2)]
    wide = submitted(redis_store, slots=8)
    behind = submitted(redis_store)
    held = [claim(redis_store, free=8), claim(redis_store, free=7)]
    assert [job_of(lease) for lease in held] == singles
    assert claim(redis_store, free=6) is None, "the head needs 8"
    for lease in held:
        assert lease is not None
        redis_store.queue.release(lease, code="preempted")
        redis_store.jobs.cancel(lease.job_id)
    assert job_of(claim(redis_store, free=8)) == wide
    assert job_of(claim(redis_store, free=8, worker_id="w2")) == behind


def test_what_can_never_fit_is_passed_over_and_keeps_its_place(redis_store: Store) -> None:
    huge = [submitted(redis_store, slots=9) for _ in range(300)]
    small = submitted(redis_store)
    assert job_of(claim(redis_store, free=8)) == small
    assert redis_store.jobs.get(huge[0]).queue_position == 1
    assert job_of(claim(redis_store, free=16, total=16, worker_id="big")) == huge[0]


def test_one_order_for_all_sizes(redis_store: Store) -> None:
    ids = [submitted(redis_store, slots=slots) for slots in (2, 1, 4, 2, 1)]
    places = [redis_store.jobs.get(id).queue_position for id in ids]
    assert places == [1, 2, 3, 4, 5]
    assert [job_of(claim(redis_store, free=8)) for _ in ids] == ids
    again = submitted(redis_store)
    assert redis_store.jobs.get(again).queue_position == 1


def test_a_job_that_comes_back_stands_before_all_sizes(redis_store: Store) -> None:
    wide = submitted(redis_store, slots=4)
    lease = claim(redis_store, free=8)
    others = [submitted(redis_store), submitted(redis_store, slots=2)]
    assert lease is not None
    redis_store.queue.release(lease)
    assert [job_of(claim(redis_store, free=8)) for _ in range(3)] == [wide, *others]


def test_other_pools_of_the_worker_start_while_a_head_waits(redis_store: Store) -> None:
    pools = ("train", "ingest")
    train = [submitted(redis_store, slots=6), submitted(redis_store, slots=8)]
    ingest = [submitted(redis_store, pool="ingest", kind="ingest") for _ in range(3)]
    first = claim(redis_store, free=8, pools=pools)
    assert job_of(first) == train[0]
    assert job_of(claim(redis_store, free=2, pools=pools)) == ingest[0]
    assert first is not None
    redis_store.queue.complete(first, artifacts=(), artifacts_folder="a")
    assert claim(redis_store, free=7, pools=pools) is None, "only an ingest is in the way of 8"


def test_a_drained_worker_starts_nothing_in_its_free_slots(redis_store: Store) -> None:
    submitted(redis_store)
    redis_store.workers.beat(worker())
    redis_store.workers.drain("w1")
    assert claim(redis_store, free=7) is None


def test_no_free_slot_no_job(redis_store: Store) -> None:
    submitted(redis_store)
    assert claim(redis_store, free=0) is None


def test_depth_counts_all_sizes(redis_store: Store) -> None:
    submitted(redis_store, slots=4)
    submitted(redis_store)
    redis_store.jobs.submit(new_job(slots=4), job_id=fresh_id())
    depth = redis_store.jobs.depth("train")
    assert depth.jobs == 3
    assert {shape: line.jobs for shape, line in depth.shapes.items()} == {(1, 1): 1, (4, 1): 2}
    assert depth.oldest_queued_at_s is not None


def test_a_job_that_is_cancelled_while_it_waits_leaves_its_line(redis_store: Store) -> None:
    wide, narrow = submitted(redis_store, slots=4), submitted(redis_store)
    redis_store.jobs.cancel(wide)
    assert redis_store.jobs.depth("train").shapes.keys() == {(1, 1)}
    assert redis_store.jobs.get(narrow).queue_position == 1
