import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest

from service.store.job_queue import LOSSES_MAX
from service.store.keys import KEYS
from service.store.records import Lease
from service.store.store import Store
from service.store.store_errors import Fenced
from tests.support.service.redis import (
    claimed,
    dump,
    fresh_id,
    leased,
    new_job,
    submitted,
    ticks,
    worker,
)
from trainer.schema.events import FileRecord

TTL = 15
FILES = (FileRecord(name="encoder.safetensors", size_bytes=7, sha256="ab"),)


def checkpointed(store: Store, lease: Lease, step: int) -> str:
    path = f"jobs/x/attempts/{lease.attempt}/checkpoints/{step:09}"
    store.queue.checkpoint(lease, step=step, path=path, manifest_sha256="m", size_bytes=3)
    return path


EVERY_CALL: dict[str, Callable[[Store, Lease], object]] = {
    "renew": lambda store, lease: store.queue.renew(lease),
    "append": lambda store, lease: store.queue.append(lease, ['{"type":"x"}'], {"step": 1}),
    "checkpoint": lambda store, lease: checkpointed(store, lease, 7),
    "complete": lambda store, lease: store.queue.complete(
        lease, artifacts=FILES, artifacts_folder="jobs/x/attempts/1/artifacts"
    ),
    "fail": lambda store, lease: store.queue.fail(
        lease, code="oom", message="m", hint="h", retry=True
    ),
    "release": lambda store, lease: store.queue.release(lease),
}


def trainer_events(store: Store, job_id: str) -> list[str]:
    rows = [text for _, text in store.events.read(job_id, limit=10_000)]
    return [text for text in rows if json.loads(text)["type"] != "status"]


def test_claim_gives_the_oldest_job_with_all_a_worker_needs(redis_store: Store) -> None:
    ids = [submitted(redis_store, name=str(n)) for n in range(3)]
    lease = redis_store.queue.claim(pools=("train",), worker_id="w1", nonce="n1")
    assert lease == Lease(
        job_id=ids[0],
        kind="train",
        pool="train",
        attempt=1,
        token="1:n1",
        spec_json=new_job().resolved_json,
        inputs=new_job().inputs,
        folder="jobs/x",
        checkpoints=(),
        dataset_id=None,
    )
    job = redis_store.jobs.get(ids[0])
    assert (job.status, job.worker_id, job.attempt) == ("running", "w1", 1)
    assert job.started_at_s is not None
    assert [claimed(redis_store).job_id for _ in range(2)] == ids[1:]
    assert redis_store.queue.claim(pools=("train",), worker_id="w1", nonce="n9") is None


def test_claim_takes_pools_in_order_and_no_other(redis_store: Store) -> None:
    slow = submitted(redis_store, pool="slow")
    fast = submitted(redis_store, pool="fast")
    submitted(redis_store, pool="other")
    claim = redis_store.queue.claim
    found = [claim(pools=("fast", "slow"), worker_id="w", nonce=f"n{n}") for n in range(3)]
    assert [lease and lease.job_id for lease in found] == [fast, slow, None]


def test_the_same_nonce_answers_the_same_lease_and_never_a_second_one(redis_store: Store) -> None:
    for _ in range(2):
        submitted(redis_store)

    def claim() -> Lease | None:
        return redis_store.queue.claim(pools=("train",), worker_id="w1", nonce="n1")

    lease = claim()
    assert lease is not None
    before = dump(redis_store)
    assert claim() == lease
    assert dump(redis_store) == before
    redis_store.queue.release(lease)
    assert claim() is None, "its lease is over, so a late copy of the claim gets nothing"


def test_a_drained_worker_claims_nothing(redis_store: Store) -> None:
    job_id = submitted(redis_store)
    redis_store.workers.beat(worker())
    redis_store.workers.drain("w1")
    assert redis_store.queue.claim(pools=("train",), worker_id="w1", nonce="n1") is None
    assert claimed(redis_store, worker_id="w2").job_id == job_id


@pytest.mark.parametrize("call", EVERY_CALL)
@pytest.mark.parametrize("taken", ["by nobody yet", "by another", "and the job deleted"])
def test_a_zombie_is_refused_at_every_call_and_changes_nothing(
    redis_store: Store, call: str, taken: str
) -> None:
    zombie = leased(redis_store)
    checkpointed(redis_store, zombie, 3)
    ticks(redis_store, TTL)
    if taken == "by another":
        other = claimed(redis_store, worker_id="w2")
        assert other.attempt == zombie.attempt + 1
    if taken == "and the job deleted":
        redis_store.jobs.cancel(zombie.job_id)
        redis_store.jobs.delete(zombie.job_id)
    before = dump(redis_store)
    with pytest.raises(Fenced, match=zombie.job_id):
        EVERY_CALL[call](redis_store, zombie)
    assert dump(redis_store) == before


@pytest.mark.parametrize("call", EVERY_CALL)
def test_no_token_is_the_token_of_nobody(redis_store: Store, call: str) -> None:
    """The record of a job that waits has an empty token; an empty token opens nothing."""
    lease = leased(redis_store)
    redis_store.queue.release(lease)
    before = dump(redis_store)
    with pytest.raises(Fenced):
        EVERY_CALL[call](redis_store, replace(lease, token=""))
    assert dump(redis_store) == before


@pytest.mark.parametrize("call", EVERY_CALL)
@pytest.mark.parametrize("end", ["complete", "fail", "release"])
def test_after_its_end_an_attempt_is_refused_but_for_the_very_same_call(
    redis_store: Store, end: str, call: str
) -> None:
    lease = leased(redis_store, max_failures=9)
    first = EVERY_CALL[end](redis_store, lease)
    if redis_store.jobs.get(lease.job_id).status == "queued":
        claimed(redis_store, worker_id="w2")
    before = dump(redis_store)
    if call == end:
        assert EVERY_CALL[call](redis_store, lease) == first
    else:
        with pytest.raises(Fenced):
            EVERY_CALL[call](redis_store, lease)
    assert dump(redis_store) == before


def test_renew_keeps_a_lease_for_as_long_as_it_is_called(redis_store: Store) -> None:
    lease = leased(redis_store)
    for _ in range(4):
        ticks(redis_store, TTL - 1)
        assert redis_store.queue.renew(lease) == "run"
    ticks(redis_store, TTL - 1)
    assert redis_store.jobs.get(lease.job_id).status == "running"
    ticks(redis_store, 1)
    assert redis_store.jobs.get(lease.job_id).status == "queued"


def test_only_one_of_many_reapers_moves_a_tick(redis_store: Store) -> None:
    seen = redis_store.queue.current_tick()
    gate, found = threading.Barrier(8), []

    def reap() -> None:
        gate.wait()
        found.append(redis_store.queue.tick(seen))

    threads = [threading.Thread(target=reap) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [seen + 1] * 8
    assert redis_store.queue.tick(seen - 1) == seen + 1
    assert redis_store.queue.current_tick() == seen + 1


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        (None, "queued", "worker_lost"),
        ("cancel", "cancelled", "cancelled"),
        ("pause", "paused", "paused"),
    ],
)
def test_a_lost_job_goes_where_the_user_wants_it(
    redis_store: Store, asked: str | None, status: str, code: str
) -> None:
    lease = leased(redis_store)
    if asked:
        getattr(redis_store.jobs, asked)(lease.job_id)
    ticks(redis_store, TTL)
    job = redis_store.jobs.get(lease.job_id)
    assert (job.status, job.code, job.losses, job.failures) == (status, code, 1, 0)
    assert job.worker_id is None
    assert json.loads(redis_store.events.read(lease.job_id)[-1][1])["status"] == status


def test_what_comes_back_stands_at_the_front(redis_store: Store) -> None:
    first = leased(redis_store)
    second = leased(redis_store)
    waiting = [submitted(redis_store) for _ in range(2)]
    redis_store.queue.release(first)
    ticks(redis_store, TTL)
    order = [claimed(redis_store).job_id for _ in range(4)]
    assert order == [second.job_id, first.job_id, *waiting]


def test_losses_without_progress_end_a_job_and_progress_forgives_them(redis_store: Store) -> None:
    job_id = submitted(redis_store)
    for _ in range(LOSSES_MAX - 1):
        claimed(redis_store)
        ticks(redis_store, TTL)
    lease = claimed(redis_store)
    checkpointed(redis_store, lease, 10)
    ticks(redis_store, TTL)
    assert redis_store.jobs.get(job_id).status == "queued"
    for _ in range(LOSSES_MAX - 1):
        lease = claimed(redis_store)
        checkpointed(redis_store, lease, 10)  # the same step again is no progress
        ticks(redis_store, TTL)
    job = redis_store.jobs.get(job_id)
    assert (job.status, job.code, job.losses) == ("failed", "worker_lost", 2 * LOSSES_MAX - 1)
    assert "20 attempts in a row" in job.message
    assert redis_store.jobs.resume(job_id).status == "queued"
    claimed(redis_store)
    ticks(redis_store, TTL)
    assert redis_store.jobs.get(job_id).status == "queued", "resume forgives as well"


def test_a_release_that_is_our_fault_is_bounded_and_a_preemption_is_not(redis_store: Store) -> None:
    job_id = submitted(redis_store)
    for _ in range(LOSSES_MAX + 1):
        assert redis_store.queue.release(claimed(redis_store)) == "queued"
    for _ in range(LOSSES_MAX - 1):
        assert redis_store.queue.release(claimed(redis_store), code="storage") == "queued"
    lease = claimed(redis_store)
    assert redis_store.queue.release(lease, code="storage", message="Disk full.") == "failed"
    job = redis_store.jobs.get(job_id)
    assert (job.code, job.losses, job.failures) == ("storage", LOSSES_MAX, 0)
    assert job.message.endswith("Disk full.")


def test_the_users_failures_are_tried_again_within_their_budget(redis_store: Store) -> None:
    lease = leased(redis_store, max_failures=2)
    ticks(redis_store, TTL)  # a loss of ours does not spend it
    for expected in ("queued", "queued", "failed"):
        lease = claimed(redis_store)
        status = redis_store.queue.fail(lease, code="oom", message="m", hint="h", retry=True)
        assert status == expected
    job = redis_store.jobs.get(lease.job_id)
    assert (job.failures, job.losses, job.attempt) == (3, 1, 4)
    other = leased(redis_store, max_failures=2)
    assert (
        redis_store.queue.fail(other, code="bad_spec", message="m", hint="h", retry=False)
        == "failed"
    )


@pytest.mark.parametrize(("asked", "status"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_failure_while_stopping(redis_store: Store, asked: str, status: str) -> None:
    lease = leased(redis_store, max_failures=1)
    getattr(redis_store.jobs, asked)(lease.job_id)
    assert redis_store.queue.fail(lease, code="c", message="m", hint="h", retry=True) == status


def test_append_keeps_order_and_progress(redis_store: Store) -> None:
    lease = leased(redis_store)
    version = redis_store.jobs.get(lease.job_id).version
    assert redis_store.queue.append(lease, ['{"type":"a"}', '{"type":"b"}'], {"step": 2}) == "run"
    redis_store.queue.append(lease, [], {"step": 3, "signals": {"loss": 1.5}})
    redis_store.jobs.pause(lease.job_id)
    assert redis_store.queue.append(lease, ['{"type":"c"}']) == "pause"
    job = redis_store.jobs.get(lease.job_id)
    assert trainer_events(redis_store, lease.job_id) == [
        '{"type":"a"}',
        '{"type":"b"}',
        '{"type":"c"}',
    ]
    assert job.progress == {"step": 3, "signals": {"loss": 1.5}}
    assert job.version > version


def test_append_sent_again_doubles_nothing_even_with_more_behind(redis_store: Store) -> None:
    """The function as a client calls it whose replies were lost: same place, more events."""
    lease = leased(redis_store)
    for count in (2, 2, 5, 3):
        told = [f'{{"type":"x","n":{n}}}' for n in range(count)]
        redis_store.client.fcall("append", lease.job_id, lease.token, 0, "", *told)
    numbers = [json.loads(text)["n"] for text in trainer_events(redis_store, lease.job_id)]
    assert numbers == [0, 1, 2, 3, 4]


def test_old_events_of_a_long_job_are_trimmed(redis_store: Store) -> None:
    lease = leased(redis_store)
    for _ in range(12):
        redis_store.queue.append(lease, ['{"type":"x"}'] * 1000)
    kept = redis_store.client.run(lambda client: client.xlen(KEYS["ev"] + lease.job_id))
    assert 10_000 <= kept < 10_200


def test_the_checkpoint_pointer_never_goes_back(redis_store: Store) -> None:
    lease = leased(redis_store)
    two, five = checkpointed(redis_store, lease, 2), checkpointed(redis_store, lease, 5)
    before = dump(redis_store)
    checkpointed(redis_store, lease, 5)
    assert dump(redis_store) == before, "told twice"
    redis_store.queue.release(lease)
    again = claimed(redis_store)
    assert again.checkpoints == (five, two)
    three = checkpointed(redis_store, again, 3)  # it fell back to 2, because 5 was damaged
    job = redis_store.jobs.get(again.job_id)
    assert (job.checkpoint, job.checkpoint_step) == (five, 5)
    five_again = checkpointed(redis_store, again, 5)
    job = redis_store.jobs.get(again.job_id)
    assert (job.checkpoint, job.checkpoint_step) == (five_again, 5)
    redis_store.queue.release(again)
    assert claimed(redis_store).checkpoints == (five_again, three, two)
    rows = redis_store.jobs.checkpoints(again.job_id)
    assert [(row.step, row.attempt) for row in rows] == [(5, 2), (3, 2), (2, 1)]
    assert rows[0].size_bytes == 3


def test_complete_publishes(redis_store: Store) -> None:
    lease = leased(redis_store)
    redis_store.jobs.cancel(lease.job_id)  # too late: the work is done
    redis_store.queue.complete(lease, artifacts=FILES, artifacts_folder="jobs/x/attempts/1/a")
    job = redis_store.jobs.get(lease.job_id)
    assert (job.status, job.artifacts, job.artifacts_folder) == (
        "succeeded",
        FILES,
        "jobs/x/attempts/1/a",
    )
    assert job.finished_at_s is not None
    assert redis_store.counters.read()["finished:succeeded"] == 1
    ticks(redis_store, TTL)
    assert redis_store.jobs.get(lease.job_id).status == "succeeded"


def test_wait_ends_when_something_is_ready_and_not_before(redis_store: Store) -> None:
    start_s = time.monotonic()
    assert not redis_store.queue.wait(("train", "other"), 0.2)
    assert time.monotonic() - start_s >= 0.2
    submitted(redis_store)
    assert redis_store.queue.wait(("other", "train"), 5.0)
    claimed(redis_store)
    for _ in range(3):
        submitted(redis_store)
        claimed(redis_store)
    assert redis_store.queue.claim(pools=("train",), worker_id="w", nonce="empty") is None
    assert not redis_store.queue.wait(("train",), 0.05), "no hints are left over"


def test_hints_never_pile_up(redis_store: Store) -> None:
    for _ in range(100):
        submitted(redis_store)
    assert redis_store.client.run(lambda client: client.llen(KEYS["wake"] + "train")) <= 64


def test_two_waiting_workers_share_two_jobs(redis_store: Store) -> None:
    found: list[str] = []

    def work(worker_id: str) -> None:
        deadline_s = time.monotonic() + 10.0
        while time.monotonic() < deadline_s:
            lease = redis_store.queue.claim(
                pools=("train",), worker_id=worker_id, nonce=uuid.uuid4().hex
            )
            if lease:
                found.append(lease.job_id)
                return
            redis_store.queue.wait(("train",), 5.0)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    start_s = time.monotonic()
    ids = {submitted(redis_store) for _ in range(2)}
    for thread in threads:
        thread.join()
    assert set(found) == ids
    assert time.monotonic() - start_s < 2.0


def test_nonces_of_claims_are_forgotten_after_a_day(redis_store: Store) -> None:
    submitted(redis_store)
    nonce = fresh_id("nonce")
    redis_store.queue.claim(pools=("train",), worker_id="w", nonce=nonce)
    left_s = redis_store.client.run(lambda client: client.ttl(KEYS["nonce"] + nonce))
    assert 86_000 < left_s <= 86_400
