"""The disk is enough: after FLUSHALL everything is there as it was."""

import contextlib
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.datasets.ingest_jobs import prepare
from service.ids import new_id
from service.ledger.entries import LEDGER, Deleted
from service.ledger.ledger_writer import append
from service.ledger.reconcile import reconcile
from service.ledger.store_identity import FILE, ensure_identity
from service.store.records import TERMINAL, JobRecord, NewDataset, NewJob
from service.store.store import Store
from service.store.store_errors import IdempotencyConflict, Misconfigured, StoreLost, WrongState
from tests.support.service.job_lives import World
from tests.support.service.redis import empty


@pytest.fixture
def world(redis_store: Store, tmp_path: Path) -> World:
    return World(redis_store, tmp_path)


def seen(world: World) -> dict[str, JobRecord]:
    return {one.id: one for one in world.store.jobs.list(limit=100).data}


def assert_same(before: JobRecord, after: JobRecord) -> None:
    """Whatever ran is queued, or rests as it was asked to; all the rest is as it was."""
    assert after.attempt >= before.attempt
    for name in ("id", "name", "pool", "spec_json", "resolved_json", "reasons_json", "inputs"):
        assert getattr(after, name) == getattr(before, name)
    for name in ("checkpoint", "checkpoint_step", "artifacts", "artifacts_folder", "failures"):
        assert getattr(after, name) == getattr(before, name), name
    assert abs(after.created_at_s - before.created_at_s) < 0.001
    if before.status == "running":
        assert after.status == "queued"
    elif before.status == "stopping":
        wished = {"cancel_requested": "cancelled", "pause_requested": "paused"}
        assert after.status == wished[before.code]
    else:
        assert after.status == before.status
        assert after.status == "queued" or after.code == before.code
    assert (after.finished_at_s is None) == (after.status not in TERMINAL)


VERBS = ("claim", "claim", "checkpoint", "complete", "fail", "retry", "release", "lose")
ASKED = ("submit", "cancel", "pause", "resume", "delete")


def ask(world: World, jobs: list[str], verb: str, *, number: int, which: int) -> None:
    """Act once as a user; a refusal is an answer too."""
    if verb == "submit" or not jobs:
        jobs.append(world.submit(key=f"key-{number}", max_failures=1))
        return
    one = jobs[which % len(jobs)]
    with contextlib.suppress(WrongState):
        if verb == "delete":
            world.journal.delete(one)
            jobs.remove(one)
        else:
            world.journal.control(one, verb)  # type: ignore[arg-type]


def work(world: World, verb: str, *, number: int, which: int) -> None:
    """Act once as a worker, if it has a job."""
    running = sorted(world.leases)
    if verb == "claim":
        world.claim()
    elif running:
        lease = running[which % len(running)]
        if verb == "checkpoint":
            world.checkpoint(lease, number)
        elif verb in ("fail", "retry"):
            world.fail(lease, retry=verb == "retry")
        else:
            getattr(world, verb)(lease)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.sampled_from(VERBS + ASKED), st.integers(0, 3)), max_size=40))
def test_any_lives_are_rebuilt(
    tmp_path_factory: pytest.TempPathFactory,
    redis_store: Store,
    steps: list[tuple[str, int]],
) -> None:
    empty(redis_store)
    world = World(redis_store, tmp_path_factory.mktemp("lives"))
    jobs = [world.submit(key="first", max_failures=1)]
    for number, (verb, which) in enumerate(steps):
        if verb in ASKED:
            ask(world, jobs, verb, number=number, which=which)
        else:
            work(world, verb, number=number, which=which)
    before = seen(world)
    world.wipe()
    report = reconcile(redis_store, world.data_dir)
    after = seen(world)
    assert set(after) == set(before) == set(jobs)
    assert report.jobs == len(jobs)
    assert not report.damaged
    for id, record in before.items():
        assert_same(record, after[id])
    assert reconcile(redis_store, world.data_dir).jobs == 0, "a second time nothing is to do"
    while (lease_now := world.claim()) is not None:  # FileExistsError if a number came twice
        assert lease_now.attempt == before[lease_now.job_id].attempt + 1


def test_queued_jobs_keep_their_order(world: World) -> None:
    ids = [world.submit() for _ in range(5)]
    world.wipe()
    reconcile(world.store, world.data_dir)
    claimed = [lease.job_id for _ in ids if (lease := world.claim())]
    assert claimed == ids


def test_a_key_still_answers_the_same_job(world: World) -> None:
    first = world.submit(key="k")
    world.wipe()
    reconcile(world.store, world.data_dir)
    assert world.submit(key="k") == first
    assert len(list((world.data_dir / "jobs").iterdir())) == 1, "the second try left nothing"
    with pytest.raises(IdempotencyConflict):
        world.store.jobs.submit(
            NewJob(
                kind="train", pool="p", name="", spec_json="", resolved_json="", folder="jobs/x"
            ),
            job_id=new_id("job"),
            idempotency_key="k",
            fingerprint="other",
        )


def test_a_dataset_is_ready_again_with_its_pack(world: World) -> None:
    id = new_id("ds")
    made = world.journal.create_dataset_once(
        NewDataset(dataset_id=id, name="digits", store_as="jpeg", size_bytes=3)
    ).record
    world.journal.set_uploaded(id, size_bytes=3, sha256="0" * 64)
    prepare(world.journal, made, source=f"datasets/{id}/upload.part")
    lease = world.claim("ingest")
    assert lease is not None
    preparing = world.store.datasets.get(id)
    world.wipe()
    reconcile(world.store, world.data_dir)
    again = world.store.datasets.get(id)
    assert abs(again.created_at_s - preparing.created_at_s) < 1.0
    assert replace(again, created_at_s=preparing.created_at_s) == preparing
    lease = world.claim("ingest")
    assert lease is not None
    assert lease.attempt == 2
    world.complete(lease.job_id)
    ready = replace(world.store.datasets.get("digits"), created_at_s=again.created_at_s)
    assert ready.status == "ready"
    world.wipe()
    reconcile(world.store, world.data_dir)
    assert world.store.datasets.get("digits") == ready


def test_a_submit_that_redis_never_saw_is_let_happen(world: World) -> None:
    id = world.submit()
    world.wipe()
    assert reconcile(world.store, world.data_dir, whole=False).jobs == 1
    assert world.store.jobs.get(id).status == "queued"


def test_of_two_submits_with_one_key_the_told_one_lives(world: World) -> None:
    lost = world.submit(key="k")
    empty(world.store)  # as if the first call had never arrived
    told = world.submit(key="k")
    report = reconcile(world.store, world.data_dir, whole=False)
    assert (report.jobs, report.dropped) == (0, 1)
    world.wipe()
    reconcile(world.store, world.data_dir)
    assert set(seen(world)) == {told}
    assert not (world.data_dir / "jobs" / lost).exists()


def test_a_deletion_that_was_cut_short_is_finished(world: World) -> None:
    """The line is there, Redis forgot or did not, the files are there."""
    for forgotten in (True, False):
        id = world.submit()
        world.journal.control(id, "cancel")
        folder = world.data_dir / "jobs" / id
        line = '{"type":"deleted","job_id":"%s","op":"x","at_s":1.0}\n'
        with (folder / LEDGER).open("a") as ledger:
            ledger.write(line % id)
        if forgotten:
            world.store.jobs.delete(id)
        assert reconcile(world.store, world.data_dir).deleted == 1
        assert seen(world) == {}
        assert not folder.exists()


def test_a_deletion_that_was_outlived_is_refused_at_the_next_start(world: World) -> None:
    """An older version logged it before Redis refused: the job ran, and has succeeded since."""
    id = world.submit()
    world.claim()
    append(world.data_dir / "jobs" / id, Deleted(job_id=id, op="x", at_s=time.time()))
    world.complete(id)
    assert reconcile(world.store, world.data_dir, whole=False).deleted == 0
    last = world.ledger(id)[-1]
    assert (last["type"], last["op"]) == ("refused", "x")
    assert seen(world)[id].status == "succeeded"


def test_a_job_that_was_attempted_survives_another_with_its_key(world: World) -> None:
    """Both were accepted: the key was forgotten in between, say by a clock that went back."""
    first = world.submit(key="k")
    world.claim()
    world.complete(first)
    with (world.data_dir / "jobs" / first / LEDGER).open() as ledger:
        line = ledger.read().replace(first, "job_other").replace('"f"', '"g"')
    world.wipe()
    for name in ("jobs/job_other/attempts/1", "jobs/job_other"):
        (world.data_dir / name).mkdir(parents=True, exist_ok=True)
    (world.data_dir / "jobs" / "job_other" / LEDGER).write_text(line)
    assert reconcile(world.store, world.data_dir).dropped == 0
    assert set(seen(world)) == {first, "job_other"}


def test_half_a_removed_folder_is_removed_whole(world: World) -> None:
    (world.data_dir / "jobs" / "job_x.deleted").mkdir(parents=True)
    reconcile(world.store, world.data_dir)
    assert os.listdir(world.data_dir / "jobs") == []


def test_a_torn_end_is_no_damage_and_the_next_line_is_whole(world: World) -> None:
    id = world.submit()
    path = world.data_dir / "jobs" / id / LEDGER
    with path.open("a") as ledger:
        ledger.write('{"type":"contr')
    world.wipe()
    assert reconcile(world.store, world.data_dir).damaged == ()
    world.journal.control(id, "pause")
    world.wipe()
    assert reconcile(world.store, world.data_dir).damaged == (f"jobs/{id}/{LEDGER}:2",)
    assert world.store.jobs.get(id).status == "paused"


def test_an_emptied_redis_refuses_until_it_is_rebuilt(world: World) -> None:
    ensure_identity(world.store, world.data_dir)
    id, gone = world.submit(), world.submit()
    world.journal.control(gone, "cancel")
    deleted = '{"type":"deleted","job_id":"%s","op":"x","at_s":1.0}\n'
    with (world.data_dir / "jobs" / gone / LEDGER).open("a") as ledger:
        ledger.write(deleted % gone)
    world.wipe()
    with pytest.raises(StoreLost):
        world.store.jobs.get(id)
    assert ensure_identity(world.store, world.data_dir).jobs == 1
    assert world.store.jobs.get(id).status == "queued"
    world.store.client.expected = None


def test_the_redis_of_another_folder_is_refused(world: World, tmp_path: Path) -> None:
    ensure_identity(world.store, tmp_path / "one")
    for other in ("two", "two"):
        with pytest.raises(Misconfigured, match="belongs to another data folder"):
            ensure_identity(world.store, tmp_path / other)
    assert not (tmp_path / "two" / FILE).exists()
    world.store.client.expected = None


def test_hundreds_of_jobs_at_the_promised_speed(world: World) -> None:
    """Ten thousand may take ten seconds. Processor time, for other tests may run beside this."""
    count = 300
    ids = [world.submit(key=f"k{n}") for n in range(count)]
    for n in range(0, count, 10):
        lease = world.claim()
        assert lease is not None
        world.checkpoint(lease.job_id, n)
        if n % 20:
            world.complete(lease.job_id)
    world.wipe()
    began_s = time.process_time()
    report = reconcile(world.store, world.data_dir)
    elapsed_s = time.process_time() - began_s
    assert report.jobs == len(ids)
    assert elapsed_s < count / 1000
