"""Deletions of datasets that meet a kill or a lost Redis: carried out once, or refused for good."""

import contextlib
import json
import os
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.datasets.ingest_jobs import prepare
from service.ids import new_id
from service.ledger.audit import audit
from service.ledger.entries import LEDGER
from service.ledger.reconcile import reconcile
from service.store.records import DatasetRecord, NewDataset, NewJob
from service.store.store import Store
from service.store.store_errors import DatasetInUse, NameTaken, NotFound
from tests.support.service.job_lives import World
from tests.support.service.redis import empty


@pytest.fixture
def world(redis_store: Store, tmp_path: Path) -> World:
    return World(redis_store, tmp_path)


def made(world: World, name: str, *, replace: bool = False) -> str:
    id = new_id("ds")
    world.journal.create_dataset_once(NewDataset(dataset_id=id, name=name, replace=replace))
    return id


def filled(world: World, id: str, *, fails: bool = False) -> None:
    (world.data_dir / f"datasets/{id}/upload.part").write_bytes(b"abc")
    record = world.journal.set_uploaded(id, size_bytes=3, sha256="0" * 64)
    prepare(world.journal, record, source=f"datasets/{id}/upload.part")
    lease = world.claim("ingest")
    assert lease is not None
    if fails:
        world.fail(lease.job_id, retry=False)
    else:
        world.complete(lease.job_id)


def ready(world: World, name: str, *, replace: bool = False) -> str:
    id = made(world, name, replace=replace)
    filled(world, id)
    return id


def train(world: World, dataset: str) -> str:
    job_id = new_id("job")
    new = NewJob(
        kind="train",
        pool="train",
        name="a job",
        spec_json="{}",
        resolved_json="{}",
        inputs={"dataset": f"datasets/{dataset}/attempts/1/pack"},
        folder=f"jobs/{job_id}",
        dataset_id=dataset,
    )
    return world.journal.submit(new, job_id=job_id).job_id


def rebuilt(world: World) -> None:
    world.wipe()
    reconcile(world.store, world.data_dir)


def names(world: World) -> dict[str, tuple[str, str, bool]]:
    found = world.store.datasets.list(limit=100).data
    return {one.id: (one.name, one.status, one.is_current) for one in found}


def lines(world: World, id: str) -> list[str]:
    text = (world.data_dir / "datasets" / id / LEDGER).read_text()
    return [json.loads(line)["type"] for line in text.splitlines()]


def cut_short(world: World, id: str, *, after: str) -> None:
    """A kill in `delete_dataset`, before Redis was asked or after it had answered."""
    call = "drop" if after == "redis" else "failpoint"
    patched = mock.patch(f"service.ledger.journaled_store.{call}", side_effect=KeyboardInterrupt)
    with patched, pytest.raises(KeyboardInterrupt):
        world.journal.delete_dataset(id)


def assert_whole(world: World) -> None:
    found = audit(world.store, world.data_dir).findings
    # Packs and artifacts of these worlds hold no real manifest.
    assert [one for one in found if one.what not in ("bad_pack", "bad_artifact")] == []


def test_bytes_name_and_ingest_go_and_stay_away(world: World) -> None:
    id, other = ready(world, "a"), ready(world, "b")
    job = world.store.datasets.get(id).job_id or ""
    world.journal.delete_dataset(id)
    for _ in range(2):
        assert not (world.data_dir / "datasets" / id).exists()
        assert set(names(world)) == {other}
        with pytest.raises(NotFound):
            world.store.jobs.get(job)
        assert_whole(world)
        rebuilt(world)
    again = ready(world, "a")
    assert world.store.datasets.get("a").id == again


@pytest.mark.parametrize("wiped", [False, True], ids=["kept", "wiped"])
@pytest.mark.parametrize("after", ["line", "redis"])
def test_a_deletion_that_was_cut_short_is_carried_out(
    world: World, after: str, wiped: bool
) -> None:
    id = ready(world, "a")
    cut_short(world, id, after=after)
    if wiped:
        world.wipe()
    report = reconcile(world.store, world.data_dir)
    assert report.deleted == 1
    assert names(world) == {}
    assert not (world.data_dir / "datasets" / id).exists()
    assert_whole(world)


@pytest.mark.parametrize("wiped", [False, True], ids=["kept", "wiped"])
def test_a_job_that_came_after_the_line_voids_the_deletion(world: World, wiped: bool) -> None:
    """The kill came before Redis was asked; then somebody went on with the dataset."""
    id = ready(world, "a")
    cut_short(world, id, after="line")
    job = train(world, id)
    if wiped:
        world.wipe()
    reconcile(world.store, world.data_dir)
    assert lines(world, id)[-2:] == ["dataset_deleted", "refused"]
    assert world.store.jobs.get(job).status == "queued"
    world.journal.control(job, "cancel")
    rebuilt(world)
    assert set(names(world)) == {id}
    assert_whole(world)


@pytest.mark.parametrize("wiped", [False, True], ids=["kept", "wiped"])
def test_a_deletion_cut_short_while_a_job_needed_the_dataset_is_void(
    world: World, wiped: bool
) -> None:
    """It would have been refused, and stays so when the job has succeeded since."""
    id = ready(world, "a")
    job = train(world, id)
    world.claim()
    cut_short(world, id, after="line")
    world.complete(job)
    if wiped:
        world.wipe()
    assert reconcile(world.store, world.data_dir).deleted == 0
    assert names(world) == {id: ("a", "ready", True)}


def test_a_refused_deletion_is_forgotten(world: World) -> None:
    id = ready(world, "a")
    job = train(world, id)
    with pytest.raises(DatasetInUse):
        world.journal.delete_dataset(id)
    world.journal.control(job, "cancel")
    rebuilt(world)
    assert names(world) == {id: ("a", "ready", True)}


def test_content_that_came_after_the_line_voids_the_deletion(world: World) -> None:
    id = made(world, "a")
    cut_short(world, id, after="line")
    filled(world, id)
    rebuilt(world)
    assert names(world) == {id: ("a", "ready", True)}


def test_versions_are_rebuilt_as_they_were(world: World) -> None:
    first = ready(world, "a")
    second, third = (made(world, "a", replace=True) for _ in range(2))
    filled(world, third)
    filled(world, second)
    pending = made(world, "a", replace=True)
    expected = {
        first: ("a", "ready", False),
        second: ("a", "ready", True),
        third: ("a", "ready", False),
        pending: ("a", "received", False),
    }
    assert names(world) == expected
    rebuilt(world)
    assert names(world) == expected
    world.journal.delete_dataset(second)
    assert world.store.datasets.get("a").id == third, "the name goes back to the version before"
    world.journal.rename_dataset(first, "a-old")
    before = names(world)
    rebuilt(world)
    assert names(world) == before
    assert before[first] == ("a-old", "ready", True)


def test_a_create_that_was_never_accepted_is_removed(world: World) -> None:
    """A kill after its line, while another dataset has the name."""
    id = ready(world, "a")
    with (
        mock.patch.object(type(world.store.datasets), "create_once", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        made(world, "a")
    assert len(list((world.data_dir / "datasets").iterdir())) == 2
    reconcile(world.store, world.data_dir)
    assert [path.name for path in (world.data_dir / "datasets").iterdir()] == [id]


def test_a_key_still_answers_the_same_dataset(world: World) -> None:
    new = NewDataset(dataset_id=new_id("ds"), name="a")
    world.journal.create_dataset_once(new, idempotency_key="k", fingerprint="f")
    world.wipe()
    reconcile(world.store, world.data_dir)
    again = NewDataset(dataset_id=new_id("ds"), name="a")
    done = world.journal.create_dataset_once(again, idempotency_key="k", fingerprint="f")
    assert (done.record.id, done.replayed) == (new.dataset_id, True)
    assert [path.name for path in (world.data_dir / "datasets").iterdir()] == [new.dataset_id]


STEPS = ("make", "replace", "fill", "fail", "rename", "delete", "train", "cancel", "cut", "wipe")


def step(world: World, verb: str, which: int, known: tuple[list[str], list[str]]) -> None:
    datasets, jobs = known
    if verb in ("make", "replace"):
        with contextlib.suppress(NameTaken):
            datasets.append(made(world, "ab"[which % 2], replace=verb == "replace"))
        return
    if verb == "wipe":
        rebuilt(world)
        return
    if verb == "cancel":
        if jobs:
            world.journal.control(jobs.pop(which % len(jobs)), "cancel")
        return
    if here := world.store.datasets.list(limit=100).data:
        step_on(world, verb, which, (here[which % len(here)], jobs))


def step_on(world: World, verb: str, which: int, known: tuple[DatasetRecord, list[str]]) -> None:
    one, jobs = known
    if verb in ("fill", "fail") and one.status == "received":
        filled(world, one.id, fails=verb == "fail")
    elif verb == "rename":
        with contextlib.suppress(NameTaken):
            world.journal.rename_dataset(one.id, "abc"[which % 3])
    elif verb == "train" and one.status == "ready":
        jobs.append(train(world, one.id))
    elif verb == "delete":
        with contextlib.suppress(DatasetInUse):
            world.journal.delete_dataset(one.id)
    elif verb == "cut":
        with contextlib.suppress(DatasetInUse):
            cut_short(world, one.id, after="line" if which % 2 else "redis")
        reconcile(world.store, world.data_dir)  # as the next start does


@settings(
    max_examples=int(os.environ.get("MOCO_LIVES", "30")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5)), max_size=25))
def test_any_lives_of_datasets_are_rebuilt(
    tmp_path_factory: pytest.TempPathFactory, redis_store: Store, steps: list[tuple[str, int]]
) -> None:
    empty(redis_store)
    world = World(redis_store, tmp_path_factory.mktemp("datasets"))
    known: tuple[list[str], list[str]] = ([], [])
    for verb, which in steps:
        step(world, verb, which, known)
    before = names(world)
    folders = {path.name for path in (world.data_dir / "datasets").glob("*")}
    assert folders == set(before), "a folder for each dataset, and no other"
    rebuilt(world)
    assert names(world) == before
    assert_whole(world)
