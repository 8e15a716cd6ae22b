"""Retention removes what it should and nothing else: real files, a real store, `du` as oracle."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.datasets.ingest_jobs import prepare
from service.files.disk_usage import folder_bytes
from service.ids import new_id
from service.ledger.audit import audit
from service.ledger.reconcile import reconcile
from service.maintenance.cleanup import CleanupThread
from service.maintenance.retention import (
    CALM_S,
    ORDER,
    Kind,
    Removable,
    RetentionContext,
    due,
    removable,
    trim_events,
)
from service.settings import ApiSettings
from service.store.records import NewDataset
from service.store.store import Store
from service.store.store_errors import NotFound, WrongState
from tests.support.service.job_lives import World
from tests.support.system.disk_usage import du

MIB = 2**20
DAY_S = 24 * 3600.0


@pytest.fixture
def world(redis_store: Store, tmp_path: Path) -> World:
    return World(redis_store, tmp_path / "data")


def settings_of(world: World, **changes: float | None) -> ApiSettings:
    return ApiSettings.model_validate({"data_dir": world.data_dir, "api_key": "x" * 24, **changes})


def looked(world: World, *, later_s: float = 0.0, **changes: float | None) -> list[str]:
    """Run the cleanup as of `later_s` from now; return what it removed, as `kind id`."""
    cleanup = CleanupThread(world.journal, settings_of(world, **changes))
    context = RetentionContext(world.journal, settings_of(world, **changes), time.time() + later_s)
    limit = changes.get("removable_bytes_max")
    doomed = due(list(removable(context)), bytes_max=None if limit is None else int(limit))
    for one in doomed:
        cleanup._remove(one)
    return [f"{one.kind} {one.id}" for one in doomed]


def dataset(world: World, name: str, *, ends: str, age_s: float = 0.0) -> str:
    """A dataset whose upload of 1 MiB was last touched `age_s` ago."""
    id = new_id("ds")
    record = world.journal.create_dataset_once(NewDataset(dataset_id=id, name=name)).record
    if ends == "empty":
        return id
    staged = world.data_dir / f"datasets/{id}/upload.part"
    staged.write_bytes(os.urandom(MIB))
    os.utime(staged, (0.0, time.time() - age_s))
    if ends == "received":
        return id
    world.journal.set_uploaded(id, size_bytes=MIB, sha256="0" * 64)
    prepare(world.journal, record, source=f"datasets/{id}/upload.part")
    if ends != "preparing":
        lease = world.claim("ingest")
        assert lease is not None
        if ends == "ready":
            world.complete(lease.job_id)
        else:
            world.fail(lease.job_id, retry=False)
    return id


def job(world: World, *, ends: str) -> str:
    """A training with a checkpoint of 1 MiB, however it ended or did not."""
    world.submit()
    lease = world.claim()
    assert lease is not None
    path = world.checkpoint(lease.job_id, 10)
    (world.data_dir / path / "state.safetensors").write_bytes(os.urandom(MIB))
    if ends == "succeeded":
        world.complete(lease.job_id)
    elif ends == "failed":
        world.fail(lease.job_id, retry=False)
    elif ends in ("paused", "cancelled"):
        world.journal.control(lease.job_id, "pause" if ends == "paused" else "cancel")
        world.release(lease.job_id)
    elif ends == "queued":
        world.release(lease.job_id)
    return lease.job_id


def assert_whole(world: World) -> None:
    found = audit(world.store, world.data_dir).findings
    assert [one for one in found if one.what != "bad_pack"] == []


def test_uploads_go_at_their_age_and_not_while_they_are_read(world: World) -> None:
    young = dataset(world, "young", ends="ready", age_s=10.0)
    old = {
        ends: dataset(world, f"old-{ends}", ends=ends, age_s=2 * DAY_S)
        for ends in ("ready", "received", "preparing")
    }
    assert set(looked(world)) == {f"upload {old[ends]}" for ends in ("ready", "received")}
    sizes = {
        path.parent.name: path.stat().st_size
        for path in world.data_dir.glob("datasets/*/upload.part")
    }
    assert sizes == {old["ready"]: 0, old["received"]: 0, old["preparing"]: MIB, young: MIB}
    assert world.store.datasets.get(old["ready"]).status == "ready"
    assert (world.data_dir / f"datasets/{old['ready']}/attempts/1/pack/a.bin").exists()
    assert_whole(world)


def test_datasets_of_no_use_are_deleted_at_their_age(world: World) -> None:
    doomed = {ends: dataset(world, ends, ends=ends) for ends in ("failed", "empty")}
    kept = {ends: dataset(world, ends, ends=ends) for ends in ("ready", "received", "preparing")}
    assert looked(world, dataset_unusable_kept_s=60.0) == []
    gone = looked(world, later_s=61.0, dataset_unusable_kept_s=60.0)
    assert set(gone) == {f"dataset {id}" for id in doomed.values()}
    assert {one.id for one in world.store.datasets.list().data} == set(kept.values())
    assert {path.name for path in (world.data_dir / "datasets").iterdir()} == set(kept.values())
    reconcile(world.store, world.data_dir)
    assert_whole(world)


@pytest.mark.parametrize("ends", ["failed", "cancelled", "succeeded"])
def test_checkpoints_of_ended_jobs_go_at_their_age(world: World, ends: str) -> None:
    id = job(world, ends=ends)
    before = du(world.data_dir)
    assert looked(world, checkpoint_kept_s=60.0) == []
    assert looked(world, later_s=61.0, checkpoint_kept_s=60.0) == [f"checkpoints {id}"]
    assert before - du(world.data_dir) >= MIB
    record = world.store.jobs.get(id)
    assert (record.status, record.checkpoint, record.checkpoint_step) == (ends, None, 0)
    assert world.store.jobs.checkpoints(id) == ()
    if ends == "succeeded":
        assert (world.data_dir / f"jobs/{id}/attempts/1/artifacts/a.bin").read_bytes() == b"encoder"
    world.wipe()
    reconcile(world.store, world.data_dir)
    assert world.store.jobs.get(id).status == ends
    assert_whole(world)


@pytest.mark.parametrize("state", ["queued", "running", "paused"])
def test_a_job_that_has_not_ended_keeps_all(world: World, state: str) -> None:
    """Whatever the settings say, also if it came back to life after it was looked at."""
    id = job(world, ends=state)
    before = sorted(world.data_dir.rglob("*"))
    changes = dict.fromkeys(("checkpoint_kept_s", "job_kept_s", "upload_kept_s"), 0.001)
    assert looked(world, later_s=DAY_S, removable_bytes_max=1, **changes) == []
    assert sorted(world.data_dir.rglob("*")) == before
    for refused in (world.store.jobs.forget_checkpoints, world.store.jobs.trim_events):
        with pytest.raises(WrongState):
            refused(id)


def test_a_job_that_is_resumed_meanwhile_keeps_its_checkpoint(world: World) -> None:
    id = job(world, ends="failed")
    context = RetentionContext(
        world.journal, settings_of(world, checkpoint_kept_s=1.0), time.time() + 60.0
    )
    (doomed,) = due(list(removable(context)), bytes_max=None)
    world.journal.control(id, "resume")
    CleanupThread(world.journal, settings_of(world))._remove(doomed)
    lease = world.claim()
    assert lease is not None
    (path,) = lease.checkpoints
    assert (world.data_dir / path / "state.safetensors").stat().st_size == MIB


def test_a_kill_between_redis_and_the_files_is_made_good(world: World) -> None:
    id = job(world, ends="failed")
    world.store.jobs.forget_checkpoints(id)
    folder = world.data_dir / f"jobs/{id}/attempts/1"
    (folder / "checkpoints").rename(folder / "checkpoints.deleted")
    assert looked(world, later_s=61.0, checkpoint_kept_s=60.0) == [f"checkpoints {id}"]
    assert not (folder / "checkpoints.deleted").exists()


def test_failed_and_cancelled_jobs_are_deleted_only_if_asked(world: World) -> None:
    jobs = {ends: job(world, ends=ends) for ends in ("failed", "cancelled", "succeeded", "paused")}
    assert looked(world, later_s=300 * DAY_S, checkpoint_kept_s=1000 * DAY_S) == []
    gone = looked(world, later_s=61.0, job_kept_s=60.0)
    assert set(gone) == {f"job {jobs[ends]}" for ends in ("failed", "cancelled")}
    assert {one.id for one in world.store.jobs.list().data} == {jobs["succeeded"], jobs["paused"]}
    assert_whole(world)


def test_events_of_ended_jobs_are_trimmed_to_the_last(world: World) -> None:
    ended, running = job(world, ends="failed"), job(world, ends="running")
    context = RetentionContext(
        world.journal, settings_of(world, event_kept_s=60.0), time.time() + 61.0
    )
    before = {id: world.store.events.read(id) for id in (ended, running)}
    seen = set[str]()
    assert trim_events(context, seen) == len(before[ended]) - 1
    assert trim_events(context, seen) == 0
    assert world.store.events.read(ended) == before[ended][-1:]
    assert world.store.events.read(running) == before[running]
    with pytest.raises(NotFound):
        world.store.jobs.trim_events(new_id("job"))


def test_a_limit_of_bytes_takes_what_is_missed_least(world: World) -> None:
    """7 MiB may go, 4 may stay: the uploads that are read, then the oldest checkpoint."""
    packs = [dataset(world, f"d{n}", ends="ready", age_s=120.0) for n in range(2)]
    failed = dataset(world, "bad", ends="failed", age_s=120.0)
    jobs = [job(world, ends="failed") for _ in range(3)]
    artifacts = job(world, ends="succeeded")
    gone = looked(world, later_s=120.0, removable_bytes_max=4.5 * MIB)
    assert gone == [*(f"upload {id}" for id in packs), f"checkpoints {jobs[0]}"] or set(gone) == {
        *(f"upload {id}" for id in packs),
        f"checkpoints {jobs[0]}",
    }
    assert world.store.datasets.get(failed).status == "failed"
    assert world.store.jobs.get(artifacts).checkpoint is not None
    assert_whole(world)


def test_rotated_logs_are_removed(world: World) -> None:
    logs = world.data_dir / "logs"
    logs.mkdir(parents=True)
    for path in (logs / "api.log", logs / "api.log.1"):
        path.write_text("x")
        os.utime(path, (0.0, time.time() - 40 * DAY_S))
    CleanupThread(world.journal, settings_of(world)).run_once()
    assert [path.name for path in sorted(logs.iterdir())] == ["api.log"]


def test_many_calls_stay_below_the_limit(world: World) -> None:
    """A small storm: what remains on the disk is the limit and what lives, by `du`."""
    limit = 3 * MIB
    for n in range(12):
        dataset(world, f"upload-{n}", ends="received", age_s=120.0)
        dataset(world, f"failed-{n}", ends="failed", age_s=120.0)
        dataset(world, f"empty-{n}", ends="empty")
        job(world, ends="cancelled")
    live = [job(world, ends="queued"), dataset(world, "live", ends="ready")]
    alive = du(world.data_dir / "jobs" / live[0]) + du(world.data_dir / "datasets" / live[1])
    assert du(world.data_dir) > 30 * MIB
    kept = dict.fromkeys(
        ("upload_kept_s", "dataset_unusable_kept_s", "checkpoint_kept_s", "job_kept_s"), 60.0
    )
    for later_s in (61.0, 122.0):
        looked(world, later_s=later_s, removable_bytes_max=limit, **kept)
    assert du(world.data_dir) <= limit + alive
    assert {one.id for one in world.store.jobs.list().data} == {live[0]}
    assert_whole(world)


ITEMS = st.lists(
    st.builds(
        Removable,
        kind=st.sampled_from(ORDER),
        id=st.just("x"),
        age_s=st.floats(0, 1000),
        size_bytes=st.integers(0, 100),
        kept_s=st.none() | st.floats(0, 1000),
        remove=st.just(lambda: None),
    ),
    max_size=12,
)


@given(ITEMS, st.none() | st.integers(0, 500))
def test_what_is_due(found: list[Removable], limit: int | None) -> None:
    """All that is too old; for the size no more than needed, and nothing before what goes first."""
    gone = due(found, bytes_max=limit)
    ids = {id(one) for one in gone}
    assert len(ids) == len(gone)
    aged = [one for one in found if one.kept_s is not None and one.age_s > one.kept_s]
    assert {id(one) for one in aged} <= ids
    extra = [one for one in gone if one not in aged]
    if limit is None:
        assert not extra
        return
    rest = [one for one in found if id(one) not in ids]
    left = sum(one.size_bytes for one in rest)
    calm = [one for one in rest if one.age_s > CALM_S and one.size_bytes]
    assert left <= limit or not calm
    if extra:
        assert all(one.age_s > CALM_S for one in extra)
        assert left + extra[-1].size_bytes > limit
        rank: dict[Kind, int] = {kind: place for place, kind in enumerate(ORDER)}
        assert max(rank[one.kind] for one in extra) <= min(
            (rank[one.kind] for one in calm), default=9
        )


def test_bytes_are_counted_as_du_counts_them(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/x").write_bytes(b"x" * 10_000)
    (tmp_path / "a/b/twice").hardlink_to(tmp_path / "a/x")
    (tmp_path / "a/link").symlink_to("/usr")
    with (tmp_path / "a/sparse").open("wb") as file:
        file.truncate(MIB)
    assert folder_bytes(tmp_path) == du(tmp_path)
    assert folder_bytes(tmp_path / "none") == 0
