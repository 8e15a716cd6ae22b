"""Seats: a job of several nodes runs once as many workers have one, and for all or none of them."""

from dataclasses import replace

import pytest

from service.store.job_queue import Offer
from service.store.keys import KEYS
from service.store.records import Lease, Seat, SeatTaken
from service.store.store import Store
from service.store.store_errors import Fenced
from tests.support.service.redis import dump, fresh_id, submitted, ticks, worker

TTL = 15
FORM_TICKS = 60
LONGEST_REST = 60


def sit(
    store: Store,
    worker_id: str,
    *,
    nonce: str | None = None,
    pools: tuple[str, ...] = ("train",),
    free: int = 4,
    total: int = 4,
    endpoint: str | None = None,
) -> Lease | SeatTaken | None:
    offer = Offer(worker_id, free, total, endpoint=endpoint or f"{worker_id}:29500")
    return store.queue.claim_seat(pools=pools, nonce=nonce or f"n-{worker_id}", offer=offer)


def gang(store: Store, *, nodes: int = 2, slots: int = 4) -> list[Lease]:
    """The leases of a new job of several nodes, by node rank."""
    submitted(store, nodes=nodes, slots=slots)
    names = [fresh_id("w") for _ in range(nodes)]
    for name in names:
        sit(store, name)
    leases = [sit(store, name) for name in names]
    assert all(isinstance(lease, Lease) for lease in leases)
    return [lease for lease in leases if isinstance(lease, Lease)]


def held(store: Store, worker_id: str) -> dict[str, str]:
    found: dict[str, str] = store.client.run(
        lambda client: client.hgetall(KEYS["held"] + worker_id)
    )
    return found


def test_the_last_seat_starts_the_job_and_all_have_one_token(redis_store: Store) -> None:
    job = submitted(redis_store, nodes=3, slots=4)
    first = sit(redis_store, "a")
    assert first == SeatTaken(job_id=job, taken=1, nodes=3, slots=4)
    assert redis_store.jobs.get(job).status == "queued"
    second = sit(redis_store, "b")
    assert isinstance(second, SeatTaken)
    assert second.taken == 2
    last = sit(redis_store, "c")
    leases = [sit(redis_store, name) for name in "ab"] + [last]
    assert [lease.seat for lease in leases if isinstance(lease, Lease)] == [
        Seat(node_rank=rank, nodes=3, endpoint="a:29500") for rank in range(3)
    ]
    assert {lease.token for lease in leases if isinstance(lease, Lease)} == {"1:n-a"}
    record = redis_store.jobs.get(job)
    assert (record.status, record.attempt, record.worker_id) == ("running", 1, "a")
    assert [held(redis_store, name) for name in "abc"] == [{"train": "4"}] * 3


def test_a_seat_asked_for_again_is_the_same_and_a_worker_has_one(redis_store: Store) -> None:
    submitted(redis_store, nodes=2, slots=2)
    assert isinstance(sit(redis_store, "a"), SeatTaken)
    again = sit(redis_store, "a")
    assert isinstance(again, SeatTaken)
    assert again.taken == 1
    assert sit(redis_store, "a", nonce="other", free=2) is None, "two seats would be one node"
    small = submitted(redis_store)
    other = sit(redis_store, "a", nonce="third", free=2)
    assert isinstance(other, Lease)
    assert other.job_id == small, "its other slots need not wait"


def test_a_worker_without_an_endpoint_takes_no_seat_and_looks_past(redis_store: Store) -> None:
    submitted(redis_store, nodes=2, slots=1)
    single = submitted(redis_store)
    lease = redis_store.queue.claim(pools=("train",), worker_id="w", nonce="n")
    assert lease is not None
    assert lease.job_id == single


def test_one_silent_member_is_a_lost_lease_for_all(redis_store: Store) -> None:
    leases = gang(redis_store, nodes=3)
    for _ in range(TTL):
        for lease in leases[:2]:
            assert redis_store.queue.renew(lease) == "run"
        ticks(redis_store, 1)
    job = redis_store.jobs.get(leases[0].job_id)
    assert (job.status, job.code, job.losses) == ("queued", "worker_lost", 1)
    for lease in leases:
        with pytest.raises(Fenced):
            redis_store.queue.renew(lease)
    assert not redis_store.client.run(lambda client: client.keys(KEYS["held"] + "*"))


def test_all_that_renew_keep_the_lease(redis_store: Store) -> None:
    leases = gang(redis_store)
    for _ in range(4):
        ticks(redis_store, TTL - 1)
        for lease in leases:
            redis_store.queue.renew(lease)
    assert redis_store.jobs.get(leases[0].job_id).status == "running"


def test_only_node_rank_0_reports_and_any_may_release(redis_store: Store) -> None:
    leases = gang(redis_store)
    queue = redis_store.queue
    before = dump(redis_store)
    for call in (
        lambda: queue.complete(leases[1], artifacts=(), artifacts_folder="a"),
        lambda: queue.fail(leases[1], code="c", message="m", hint="h", retry=True),
        lambda: queue.append(leases[1], ['{"type":"x"}']),
        lambda: queue.checkpoint(leases[1], step=1, path="p", manifest_sha256="", size_bytes=1),
    ):
        with pytest.raises(Fenced):
            call()
    assert dump(redis_store) == before
    assert queue.release(leases[1]) == "queued"
    assert queue.release(leases[1]) == "queued", "sent twice"
    with pytest.raises(Fenced):
        queue.renew(leases[0])
    with pytest.raises(Fenced):
        queue.complete(leases[0], artifacts=(), artifacts_folder="a")


def test_what_is_over_is_over_for_all(redis_store: Store) -> None:
    leases = gang(redis_store)
    redis_store.queue.complete(leases[0], artifacts=(), artifacts_folder="a")
    for call in (redis_store.queue.renew, redis_store.queue.release):
        with pytest.raises(Fenced):
            call(leases[1])
    assert redis_store.jobs.get(leases[0].job_id).status == "succeeded"
    name = redis_store.jobs.attempts(leases[0].job_id)[0].worker_id
    assert sit(redis_store, name) is None, "its seat is over"


def test_every_member_is_told_of_a_cancel(redis_store: Store) -> None:
    leases = gang(redis_store)
    redis_store.jobs.cancel(leases[0].job_id)
    assert [redis_store.queue.renew(lease) for lease in leases] == ["cancel", "cancel"]
    assert redis_store.queue.release(leases[0]) == "cancelled"


def test_a_stranger_with_the_token_of_an_older_attempt_is_refused(redis_store: Store) -> None:
    leases = gang(redis_store)
    redis_store.queue.release(leases[0])
    again = [sit(redis_store, name, nonce=name) for name in ("x", "y")]
    lease = again[1]
    assert isinstance(lease, Lease)
    assert lease.attempt == 2
    before = dump(redis_store)
    for old in leases:
        with pytest.raises(Fenced):
            redis_store.queue.renew(old)
    forged = replace(lease, seat=Seat(node_rank=7, nodes=2, endpoint=""))
    redis_store.queue.renew(forged)
    assert dump(redis_store) == before, "there is no node rank 7 to renew"


def test_a_seat_that_is_not_asked_for_again_is_free(redis_store: Store) -> None:
    submitted(redis_store, nodes=2, slots=4)
    sit(redis_store, "a", endpoint="gone:1")
    ticks(redis_store, TTL)
    assert sit(redis_store, "a") is None, "it was given back"
    sit(redis_store, "b")
    last = sit(redis_store, "c")
    assert isinstance(last, Lease)
    assert last.seat == Seat(node_rank=1, nodes=2, endpoint="b:29500"), "the endpoint of the living"


def test_a_gang_that_does_not_form_gives_its_seats_back_and_keeps_its_place(
    redis_store: Store,
) -> None:
    job = submitted(redis_store, nodes=2, slots=4)
    behind = submitted(redis_store, slots=4)
    elsewhere = submitted(redis_store, pool="other", slots=4)
    for _ in range(FORM_TICKS):
        assert isinstance(sit(redis_store, "a"), SeatTaken)
        ticks(redis_store, 1)
    assert sit(redis_store, "a") is None
    assert redis_store.jobs.get(job).queue_position == 1
    assert sit(redis_store, "a", nonce="n2") is None, "nothing behind it starts there"
    lease = sit(redis_store, "a", nonce="n3", pools=("train", "other"))
    assert isinstance(lease, Lease)
    assert lease.job_id == elsewhere
    ticks(redis_store, LONGEST_REST)
    assert isinstance(sit(redis_store, "b"), SeatTaken)
    started = sit(redis_store, "c")
    assert isinstance(started, Lease)
    assert started.job_id == job
    assert redis_store.jobs.get(behind).status == "queued"


def test_one_gang_forms_at_a_time(redis_store: Store) -> None:
    first = submitted(redis_store, nodes=2, slots=8)
    second = submitted(redis_store, nodes=2, slots=4)
    assert isinstance(sit(redis_store, "large", free=8, total=8), SeatTaken)
    assert sit(redis_store, "small") is None, "the first one forms"
    assert isinstance(sit(redis_store, "large-2", free=8, total=8), Lease)
    assert redis_store.jobs.get(first).status == "running"
    seat = sit(redis_store, "small")
    assert isinstance(seat, SeatTaken)
    assert seat.job_id == second


@pytest.mark.parametrize("verb", ["cancel", "pause"])
def test_a_gang_that_forms_can_be_stopped(redis_store: Store, verb: str) -> None:
    job = submitted(redis_store, nodes=2, slots=4)
    sit(redis_store, "a")
    getattr(redis_store.jobs, verb)(job)
    assert sit(redis_store, "a") is None
    assert sit(redis_store, "b") is None
    if verb == "pause":
        redis_store.jobs.resume(job)
        assert isinstance(sit(redis_store, "c"), SeatTaken)


def test_a_seat_can_be_given_back(redis_store: Store) -> None:
    submitted(redis_store, nodes=2, slots=4)
    sit(redis_store, "a")
    redis_store.queue.leave_seat("n-a")
    assert sit(redis_store, "a") is None
    assert isinstance(sit(redis_store, "b"), SeatTaken)
    assert isinstance(sit(redis_store, "c"), Lease)
    before = dump(redis_store)
    redis_store.queue.leave_seat("n-c")
    assert dump(redis_store) == before, "its gang runs"


def test_a_drained_worker_keeps_no_seat(redis_store: Store) -> None:
    submitted(redis_store, nodes=2, slots=4)
    redis_store.workers.beat(worker(id="a"))
    sit(redis_store, "a")
    redis_store.workers.drain("a")
    assert sit(redis_store, "a") is None
    seat = sit(redis_store, "b")
    assert isinstance(seat, SeatTaken)
    assert seat.taken == 1
