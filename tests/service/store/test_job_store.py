import json
import time

import pytest

from service.store.keys import KEYS
from service.store.records import STATUSES, NewDataset, Status
from service.store.store import Store
from service.store.store_errors import IdempotencyConflict, NotFound, WrongState
from tests.support.service.redis import claimed, dump, fresh_id, leased, new_job, submitted, ticks


def statuses_told(store: Store, job_id: str) -> list[str]:
    events = [json.loads(text) for _, text in store.events.read(job_id)]
    return [event["status"] for event in events if event["type"] == "status"]


def brought_to(store: Store, status: Status) -> str:
    """A job in this status."""
    if status == "queued":
        return submitted(store)
    if status == "paused":
        return store.jobs.pause(submitted(store)).id
    if status == "cancelled":
        return store.jobs.cancel(submitted(store)).id
    lease = leased(store)
    match status:
        case "stopping":
            store.jobs.pause(lease.job_id)
        case "succeeded":
            store.queue.complete(lease, artifacts=(), artifacts_folder="a")
        case "failed":
            store.queue.fail(lease, code="oom", message="m", hint="h", retry=False)
    return lease.job_id


def test_a_submitted_job_is_kept_as_sent_and_queued(redis_store: Store) -> None:
    before_s = time.time()
    redis_store.datasets.create(NewDataset(dataset_id="ds_1", name="digits"))
    new = new_job(name='na"me\n\u202e', max_failures=2, dataset_id="ds_1")
    made = redis_store.jobs.submit(new, job_id="job_1")
    job = redis_store.jobs.get("job_1")
    assert (made.job_id, made.replayed) == ("job_1", False)
    assert (job.status, job.queue_position, job.attempt, job.version) == ("queued", 1, 0, 1)
    assert before_s <= job.created_at_s <= time.time()
    for name in ("kind", "pool", "name", "spec_json", "resolved_json", "reasons_json"):
        assert getattr(job, name) == getattr(new, name)
    assert (job.inputs, job.folder, job.dataset_id) == (new.inputs, new.folder, "ds_1")
    assert (job.started_at_s, job.finished_at_s, job.worker_id, job.checkpoint) == (None,) * 4
    assert statuses_told(redis_store, "job_1") == ["queued"]
    assert redis_store.counters.read() == {"submitted": 1}


def test_submit_sent_twice_makes_one_job(redis_store: Store) -> None:
    first = redis_store.jobs.submit(new_job(), job_id="job_1")
    before = dump(redis_store)
    assert redis_store.jobs.submit(new_job(), job_id="job_1") == first
    assert dump(redis_store) == before


def test_an_idempotency_key_replays_the_same_body_and_refuses_another(redis_store: Store) -> None:
    def submit(job_id: str, fingerprint: str) -> tuple[str, bool]:
        made = redis_store.jobs.submit(
            new_job(), job_id=job_id, idempotency_key="k", fingerprint=fingerprint
        )
        return made.job_id, made.replayed

    assert submit("job_1", "aa") == ("job_1", False)
    before = dump(redis_store)
    assert submit("job_1", "aa") == ("job_1", False), "the same call, its reply was lost"
    assert submit("job_2", "aa") == ("job_1", True)
    with pytest.raises(IdempotencyConflict):
        submit("job_3", "bb")
    assert dump(redis_store) == before
    left_s = redis_store.client.run(lambda client: client.ttl(KEYS["idem"] + "k"))
    assert 86_000 < left_s <= 86_400
    redis_store.jobs.cancel("job_1")
    redis_store.jobs.delete("job_1")
    assert submit("job_4", "bb") == ("job_4", False), "the key went with the job"


def test_unknown_jobs_are_not_found(redis_store: Store) -> None:
    for ask in (
        redis_store.jobs.get,
        redis_store.jobs.cancel,
        redis_store.jobs.pause,
        redis_store.jobs.resume,
        redis_store.jobs.delete,
    ):
        with pytest.raises(NotFound, match="job 'job_0'"):
            ask("job_0")
    assert redis_store.jobs.attempts("job_0") == ()
    assert redis_store.jobs.checkpoints("job_0") == ()
    assert dump(redis_store) == {}


# verb -> status -> what the job is then; what is not here is refused.
CONTROL: dict[str, dict[Status, Status]] = {
    "cancel": {
        "queued": "cancelled",
        "paused": "cancelled",
        "running": "stopping",
        "stopping": "stopping",
        "cancelled": "cancelled",
    },
    "pause": {
        "queued": "paused",
        "running": "stopping",
        "stopping": "stopping",
        "paused": "paused",
    },
    "resume": {"paused": "queued", "cancelled": "queued", "failed": "queued"},
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("verb", CONTROL)
def test_control_follows_the_table_and_refuses_the_rest(
    redis_store: Store, verb: str, status: Status
) -> None:
    job_id = brought_to(redis_store, status)
    assert redis_store.jobs.get(job_id).status == status
    before = dump(redis_store)
    control = getattr(redis_store.jobs, verb)
    if status in CONTROL[verb]:
        assert control(job_id).status == CONTROL[verb][status]
        assert redis_store.jobs.get(job_id).status == CONTROL[verb][status]
        if CONTROL[verb][status] != status:
            assert statuses_told(redis_store, job_id)[-1] == CONTROL[verb][status]
    else:
        with pytest.raises(WrongState) as refused:
            control(job_id)
        assert (refused.value.status, refused.value.verb) == (status, verb)
        assert refused.value.reason.endswith(".")
        assert status in refused.value.reason
        assert dump(redis_store) == before


def test_control_sent_twice_acts_once(redis_store: Store) -> None:
    """The function is called as a client would whose reply was lost: same nonce of the call."""
    job_id = brought_to(redis_store, "paused")
    redis_store.client.fcall("control", job_id, "resume", "op1", 1.0)
    claimed(redis_store)
    before = dump(redis_store)
    reply = redis_store.client.fcall("control", job_id, "resume", "op1", 2.0)
    assert reply[0] == "OK"
    assert dump(redis_store) == before


def test_cancel_beats_pause_but_not_the_other_way_round(redis_store: Store) -> None:
    lease = leased(redis_store)
    redis_store.jobs.pause(lease.job_id)
    assert redis_store.queue.renew(lease) == "pause"
    redis_store.jobs.cancel(lease.job_id)
    assert redis_store.queue.renew(lease) == "cancel"
    with pytest.raises(WrongState, match="being cancelled"):
        redis_store.jobs.pause(lease.job_id)
    assert redis_store.queue.release(lease) == "cancelled"


def test_resume_keeps_checkpoints_and_gives_the_retries_back(redis_store: Store) -> None:
    lease = leased(redis_store)
    redis_store.queue.checkpoint(
        lease, step=5, path="jobs/x/attempts/1/checkpoints/5", manifest_sha256="s", size_bytes=9
    )
    redis_store.queue.fail(lease, code="oom", message="m", hint="h", retry=True)
    failed = redis_store.jobs.get(lease.job_id)
    assert (failed.status, failed.code, failed.message, failed.hint) == ("failed", "oom", "m", "h")
    assert failed.finished_at_s is not None
    assert failed.failures == 1
    job = redis_store.jobs.resume(lease.job_id)
    assert (job.status, job.code, job.failures, job.finished_at_s) == ("queued", "", 0, None)
    again = claimed(redis_store)
    assert again.checkpoints == ("jobs/x/attempts/1/checkpoints/5",)
    assert again.attempt == 2


@pytest.mark.parametrize("status", STATUSES)
def test_only_an_ended_job_can_be_deleted(redis_store: Store, status: Status) -> None:
    job_id = brought_to(redis_store, status)
    before = dump(redis_store)
    if status in ("succeeded", "failed", "cancelled"):
        redis_store.jobs.delete(job_id)
        assert not [key for key in dump(redis_store) if job_id in key]
        assert redis_store.jobs.list().data == ()
        assert sum(redis_store.jobs.counts().values()) == 0
        assert redis_store.client.fcall("delete", job_id, "other") == ["NOTFOUND"]
    else:
        with pytest.raises(WrongState, match="cancel it first"):
            redis_store.jobs.delete(job_id)
        assert dump(redis_store) == before


def test_delete_sent_twice_is_done_once(redis_store: Store) -> None:
    job_id = brought_to(redis_store, "cancelled")
    assert redis_store.client.fcall("delete", job_id, "op1") == ["OK"]
    assert redis_store.client.fcall("delete", job_id, "op1") == ["OK"]


def test_lists_are_newest_first_in_pages_by_status_and_kind(redis_store: Store) -> None:
    ids = [submitted(redis_store) for _ in range(7)]
    ingest = submitted(redis_store, kind="ingest", pool="ingest")
    redis_store.jobs.cancel(ids[3])
    jobs = redis_store.jobs
    first = jobs.list(limit=3)
    assert ([job.id for job in first.data], first.has_more) == (ids[:3:-1], True)
    submitted(redis_store)  # a newer one does not shift the next page
    rest = jobs.list(after=first.data[-1].id, limit=4)
    assert ([job.id for job in rest.data], rest.has_more) == (ids[3::-1], False)
    assert [job.id for job in jobs.list(status="cancelled").data] == [ids[3]]
    assert [job.id for job in jobs.list(kind="ingest").data] == [ingest]
    assert jobs.list(after=ids[0]).data == ()
    assert jobs.counts() == dict.fromkeys(STATUSES, 0) | {"queued": 7, "cancelled": 1}
    assert jobs.counts(kind="ingest")["queued"] == 1


def test_queue_positions_and_depth(redis_store: Store) -> None:
    ids = [submitted(redis_store) for _ in range(3)]
    submitted(redis_store, pool="other")
    assert [redis_store.jobs.get(id).queue_position for id in ids] == [1, 2, 3]
    assert [job.queue_position for job in redis_store.jobs.list(limit=4).data] == [1, 3, 2, 1]
    depth = redis_store.jobs.depth("train")
    assert depth.jobs == 3
    assert depth.oldest_queued_at_s == pytest.approx(
        redis_store.jobs.get(ids[0]).created_at_s, abs=0.1
    )
    claimed(redis_store)
    assert redis_store.jobs.get(ids[0]).queue_position is None
    assert redis_store.jobs.get(ids[1]).queue_position == 1
    assert redis_store.jobs.depth("none").jobs == 0
    assert redis_store.jobs.depth("none").oldest_queued_at_s is None
    assert redis_store.jobs.pools() == ("other", "train")


def test_every_attempt_is_on_record(redis_store: Store) -> None:
    lease = leased(redis_store, max_failures=1)
    ticks(redis_store, 15)
    lost = claimed(redis_store, worker_id="w2")
    redis_store.queue.fail(lost, code="oom", message="too big", hint="h", retry=True)
    freed = claimed(redis_store, worker_id="w3")
    redis_store.queue.release(freed)
    redis_store.queue.complete(
        claimed(redis_store, worker_id="w4"), artifacts=(), artifacts_folder="a"
    )
    rows = redis_store.jobs.attempts(lease.job_id)
    assert [(row.attempt, row.worker_id, row.outcome, row.code) for row in rows] == [
        (1, "w1", "lost", "worker_lost"),
        (2, "w2", "failed", "oom"),
        (3, "w3", "released", "preempted"),
        (4, "w4", "succeeded", ""),
    ]
    assert all(row.ended_at_s is not None and row.ended_at_s >= row.started_at_s for row in rows)
    assert redis_store.counters.read() == {
        "submitted": 1,
        "finished:succeeded": 1,
        "retries:worker_lost": 1,
        "retries:oom": 1,
        "retries:preempted": 1,
    }


def test_ten_thousand_jobs_are_listed_a_page_at_a_time(redis_store: Store) -> None:
    """The page costs what a page of a short list costs; no key is scanned."""

    def page_s() -> float:
        spent_s = []
        for _ in range(20):
            start_s = time.perf_counter()
            page = redis_store.jobs.list(status="queued", limit=20)
            spent_s.append(time.perf_counter() - start_s)
            assert len(page.data) == 20
        return sorted(spent_s)[10]

    for _ in range(30):
        submitted(redis_store)
    short_s = page_s()

    def fill(client: object) -> None:
        pipe = client.pipeline(transaction=False)  # type: ignore[attr-defined]
        for _ in range(10_000):
            fields = {
                "kind": "train",
                "pool": "train",
                "name": "n",
                "spec_json": "{}",
                "resolved_json": "{}",
                "reasons_json": "{}",
                "inputs": "{}",
                "folder": "f",
                "dataset_id": "",
                "max_failures": "0",
                "now": "1.0",
                "idem_key": "",
                "fingerprint": "",
                "id": fresh_id(),
            }
            pipe.fcall(
                "moco_submit",
                0,
                2 * len(fields),
                *(part for item in fields.items() for part in item),
            )
        pipe.execute()

    redis_store.client.run(fill, client=redis_store.client.blocking(block_s=60.0))
    assert redis_store.jobs.counts()["queued"] == 10_030
    assert page_s() < 3 * short_s + 0.005
    seen, after = 0, None
    while True:
        page = redis_store.jobs.list(after=after, limit=1000)
        seen, after = seen + len(page.data), page.data[-1].id
        if not page.has_more:
            break
    assert seen == 10_030
