"""One lease, on a real store and real files; only the training process is played."""

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from service.store.job_queue import Offer
from service.store.records import Lease, SeatTaken
from service.store.store import Store
from service.store.store_errors import Fenced
from tests.support.service.redis import claimed, submitted, ticks
from trainer.schema.events import Checkpointed, Ended, Event, FileRecord, Published, Started
from trainer.util.atomic_files import write_synced
from worker.attempt import attempt_runner
from worker.attempt.attempt_runner import AttemptRunner, WorkerContext
from worker.process.child_request import RESULT_FILE, ChildRequest
from worker.process.forkserver_client import ForkserverClient
from worker.process.shutdown import Shutdown, WakePipe
from worker.settings import WorkerSettings
from worker.slots import SlotPool
from worker.telemetry.metrics import WorkerMetrics

Play = Callable[[Path, Callable[[Event], None]], None]
"""Acts as the child: writes in its folder, and sends events."""


@pytest.fixture
def run(
    redis_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Lease, Play], bool]:
    """Runs a lease to its end; the child is a function."""

    def run(lease: Lease, play: Play) -> bool:
        class Played:
            invalid_lines = 0

            def __init__(self, *_: object) -> None: ...

            def run(
                self, request: ChildRequest, *, on_event: Callable[[Event, str], None], **_: object
            ) -> int:
                play(request.folder, lambda event: on_event(event, event.model_dump_json()))
                return 0

        monkeypatch.setattr(attempt_runner, "ChildMonitor", Played)
        wake_pipe, slots = WakePipe(), SlotPool(["cpu"])
        # Only a member of a gang waits for an answer.
        renew_every_s = 0.1 if lease.seat else 60.0
        settings = WorkerSettings(data_dir=tmp_path, renew_every_s=renew_every_s)
        metrics = WorkerMetrics("w1", device="cpu", slots=slots, scrape_s=15.0)
        context = WorkerContext(
            settings,
            redis_store,
            ForkserverClient("none:none"),
            metrics,
            Shutdown([wake_pipe, *slots.wake_pipes]),
            wake_pipe,
            threads=1,
        )
        return AttemptRunner(context, lease, slots.take(1)).run()

    return run


def next_lease(store: Store) -> Lease:
    text = json.dumps({"dataset": "made-up", "batch_rows": 8})
    job_id = submitted(store, resolved_json=text, spec_json=text, folder="jobs/one")
    lease = claimed(store)
    assert lease.job_id == job_id
    return lease


def gang_leases(store: Store) -> tuple[Lease, Lease]:
    """Return the leases of both nodes of a job, the first node's first."""
    text = json.dumps({"dataset": "x", "batch_rows": 8, "resources": {"gpus": 2, "nodes": 2}})
    submitted(store, resolved_json=text, spec_json=text, folder="jobs/gang", nodes=2)

    def claim(name: str) -> Lease | SeatTaken | None:
        offer = Offer(name, 1, 1, f"{name}:1")
        return store.queue.claim_seat(pools=("train",), nonce=name, offer=offer)

    assert isinstance(claim("a"), SeatTaken)
    last, first = claim("b"), claim("a")
    assert isinstance(first, Lease)
    assert isinstance(last, Lease)
    return first, last


def published(out: Path) -> Published:
    (out / "artifacts").mkdir()
    sha256 = write_synced(out / "artifacts" / "encoder", b"weights")
    record = FileRecord(name="encoder", size_bytes=7, sha256=sha256)
    return Published(folder="artifacts", files=(record,))


def checkpointed(out: Path, step: int) -> Checkpointed:
    path = out / "checkpoints" / f"{step:09d}"
    path.mkdir(parents=True)
    sha256 = write_synced(path / "manifest.json", b"{}")
    told = path.relative_to(out).as_posix()
    return Checkpointed(step=step, path=told, manifest_sha256=sha256, size_bytes=2)


def succeed(out: Path, emit: Callable[[Event], None]) -> None:
    emit(Started(step=0, steps_planned=2, steps_per_epoch=1, rows=8, device="cpu"))
    emit(checkpointed(out, 1))
    emit(checkpointed(out, 2))
    emit(published(out))
    ended = Ended(outcome="succeeded", step=2)
    (out / RESULT_FILE).write_text(ended.model_dump_json())
    emit(ended)


def test_a_success_is_published_and_older_checkpoints_go(
    redis_store: Store, run: Callable[[Lease, Play], bool], tmp_path: Path
) -> None:
    lease = next_lease(redis_store)
    assert run(lease, succeed)
    done = redis_store.jobs.get(lease.job_id)
    assert (done.status, done.checkpoint_step) == ("succeeded", 2)
    assert done.artifacts_folder == "jobs/one/attempts/1/artifacts"
    assert [file.sha256 for file in done.artifacts] == [hashlib.sha256(b"weights").hexdigest()]
    assert [path.name for path in tmp_path.glob("jobs/one/attempts/1/checkpoints/*")] == [
        "000000002"
    ]


def test_artifacts_that_are_not_what_was_told_are_never_published(
    redis_store: Store, run: Callable[[Lease, Play], bool]
) -> None:
    def damage(out: Path, emit: Callable[[Event], None]) -> None:
        succeed(out, emit)
        (out / "artifacts" / "encoder").write_bytes(b"weighed")

    lease = next_lease(redis_store)
    assert not run(lease, damage)
    again = redis_store.jobs.get(lease.job_id)
    assert (again.status, again.code, again.losses) == ("queued", "storage", 1)
    assert again.artifacts == ()


def test_the_pointer_does_not_move_to_a_checkpoint_that_is_not_whole(
    redis_store: Store, run: Callable[[Lease, Play], bool]
) -> None:
    def damage(out: Path, emit: Callable[[Event], None]) -> None:
        emit(checkpointed(out, 1))
        broken = checkpointed(out, 2)
        (out / broken.path / "manifest.json").write_bytes(b"{")
        emit(broken)
        ended = Ended(outcome="stopped", code="stopped", step=2)
        (out / RESULT_FILE).write_text(ended.model_dump_json())

    lease = next_lease(redis_store)
    assert run(lease, damage)
    assert redis_store.jobs.get(lease.job_id).checkpoint_step in (0, 1)


def test_an_attempt_whose_lease_is_over_touches_nothing_of_the_job(
    redis_store: Store, run: Callable[[Lease, Play], bool], tmp_path: Path
) -> None:
    """It learns so only when it says that it succeeded; another has the job by then."""
    lease = next_lease(redis_store)
    other = tmp_path / "jobs/one/attempts/2"

    def late(out: Path, emit: Callable[[Event], None]) -> None:
        emit(published(out))
        ended = Ended(outcome="succeeded", step=2)
        (out / RESULT_FILE).write_text(ended.model_dump_json())
        ticks(redis_store, redis_store.queue.lease_ttl_ticks)
        assert claimed(redis_store, worker_id="w2").attempt == 2
        checkpointed(other, 7)

    run(lease, late)
    now = redis_store.jobs.get(lease.job_id)
    assert (now.status, now.attempt, now.worker_id) == ("running", 2, "w2")
    assert [path.name for path in other.glob("checkpoints/*")] == ["000000007"]


def test_a_node_whose_ranks_are_done_keeps_its_seat_until_the_first_one_reports(
    redis_store: Store, run: Callable[[Lease, Play], bool], tmp_path: Path
) -> None:
    first, member = gang_leases(redis_store)

    def complete() -> None:
        redis_store.queue.complete(first, artifacts=(), artifacts_folder="x", facts_json=None)

    reporter = threading.Timer(1.0, complete)
    assert run(member, lambda _out, _emit: reporter.start())
    assert not reporter.is_alive()
    assert redis_store.jobs.get(first.job_id).status == "succeeded"
    (attempt,) = redis_store.jobs.attempts(first.job_id)
    assert attempt.outcome == "succeeded"
    assert (tmp_path / "jobs/gang/members/1/1/spec.json").exists()
    assert not (tmp_path / "jobs/gang/attempts").exists()  # it is the first node's


def test_the_first_node_reports_the_cause_that_another_one_has(
    redis_store: Store, run: Callable[[Lease, Play], bool], tmp_path: Path
) -> None:
    def lose(out: Path, _emit: Callable[[Event], None]) -> None:
        lost = Ended(outcome="failed", code="rank_lost", message="Another rank does not answer.")
        (out / RESULT_FILE).write_text(lost.model_dump_json())
        folder = tmp_path / "jobs/gang/members/1/1"
        folder.mkdir(parents=True)
        cause = Ended(outcome="failed", code="oom", message="Rank 1: no memory.", hint="Less.")
        (folder / RESULT_FILE).write_text(cause.model_dump_json())

    first, _ = gang_leases(redis_store)
    run(first, lose)
    job = redis_store.jobs.get(first.job_id)
    assert (job.status, job.code, job.hint) == ("failed", "oom", "Less.")


def test_a_node_that_fails_gives_the_job_back_for_all(
    redis_store: Store, run: Callable[[Lease, Play], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first node is silent: then this one says that the attempt is over."""
    monkeypatch.setattr(attempt_runner, "MEMBERS_WAIT_S", 0.1)

    def fail(out: Path, _emit: Callable[[Event], None]) -> None:
        ended = Ended(outcome="failed", code="oom", message="Rank 1: no memory.")
        (out / RESULT_FILE).write_text(ended.model_dump_json())

    first, member = gang_leases(redis_store)
    run(member, fail)
    job = redis_store.jobs.get(first.job_id)
    assert (job.status, job.code, job.message) == ("queued", "oom", "Rank 1: no memory.")
    with pytest.raises(Fenced):
        redis_store.queue.renew(first)
