import pytest

from service.store.keys import KEYS
from service.store.store import Store
from service.store.store_errors import NotFound
from tests.support.service.redis import ticks, worker


def test_a_beat_is_shown_as_told(redis_store: Store) -> None:
    told = worker(job_id="job_1", state="busy", pools=("a", "b"), info={"gpu": {"name": "x"}})
    assert redis_store.workers.beat(told).draining is False
    assert redis_store.workers.list() == (told,)
    assert redis_store.workers.beat(told).draining is False
    assert redis_store.workers.list() == (told,)


def test_a_worker_is_lost_after_silent_ticks_and_not_before(redis_store: Store) -> None:
    redis_store.workers.beat(worker())
    ticks(redis_store, 14)
    assert redis_store.workers.list()[0].state == "idle"
    ticks(redis_store, 1)
    assert redis_store.workers.list()[0].state == "lost"
    redis_store.workers.beat(worker(state="busy"))
    assert redis_store.workers.list()[0].state == "busy"


def test_drain_is_told_with_the_next_beat_and_lasts_for_that_process(redis_store: Store) -> None:
    redis_store.workers.beat(worker())
    for _ in range(2):
        redis_store.workers.drain("w1")
        assert redis_store.workers.list()[0].state == "draining"
        assert redis_store.workers.beat(worker()).draining is True
    for _ in range(2):
        redis_store.workers.undrain("w1")
        assert redis_store.workers.list()[0].state == "idle"
        assert redis_store.workers.beat(worker()).draining is False
    redis_store.workers.drain("w1")
    assert redis_store.workers.beat(worker(started_at_s=2000.5)).draining is False
    assert redis_store.workers.list()[0].state == "idle"
    with pytest.raises(NotFound, match="worker 'w2'"):
        redis_store.workers.undrain("w2")
    with pytest.raises(NotFound, match="worker 'w2'"):
        redis_store.workers.drain("w2")


def test_undrains_are_counted_for_that_process(redis_store: Store) -> None:
    """A worker that drained a slot by itself learns so that it was undrained."""
    assert redis_store.workers.beat(worker()).undrains == 0
    for count in (1, 2):
        redis_store.workers.undrain("w1")
        assert redis_store.workers.beat(worker()).undrains == count
    redis_store.workers.drain("w1")
    assert redis_store.workers.beat(worker()) == (True, 2)
    assert redis_store.workers.beat(worker(started_at_s=2000.5)) == (False, 0)


def test_leaving_and_a_day_of_silence_remove_a_worker(redis_store: Store) -> None:
    for id in ("w1", "w2"):
        redis_store.workers.beat(worker(id=id))
    for _ in range(2):
        redis_store.workers.leave("w1")
    assert [row.id for row in redis_store.workers.list()] == ["w2"]
    redis_store.client.run(lambda client: client.set("{moco}:tick", 86_400 - 1))
    assert redis_store.workers.list()[0].state == "lost"
    ticks(redis_store, 1)
    assert redis_store.workers.list() == ()


def test_slots_of_a_worker_are_shown_as_told(redis_store: Store) -> None:
    told = worker(slots=8, slots_busy=3, jobs=("job_1", "job_2"), job_id="job_1", state="busy")
    redis_store.workers.beat(told)
    (seen,) = redis_store.workers.list()
    assert (seen.slots, seen.slots_busy, seen.jobs) == (8, 3, ("job_1", "job_2"))


def test_a_worker_of_an_older_version_has_one_slot(redis_store: Store) -> None:
    redis_store.workers.beat(worker(job_id="job_1", state="busy"))
    redis_store.client.run(
        lambda client: client.hdel(KEYS["worker"] + "w1", "slots", "slots_busy", "jobs")
    )
    (seen,) = redis_store.workers.list()
    assert (seen.slots, seen.slots_busy, seen.jobs) == (1, 1, ())
