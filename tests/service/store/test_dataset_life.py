"""Deleting, replacing and renaming datasets in the store, against a model in plain Python."""

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from service.store.keys import KEYS
from service.store.records import NewDataset
from service.store.store import Store
from service.store.store_errors import (
    DatasetInUse,
    IdempotencyConflict,
    NameTaken,
    NotFound,
    WrongState,
)
from tests.support.service.api import facts
from tests.support.service.redis import claimed, dump, empty, fresh_id, new_job


def new_dataset(store: Store, id: str, name: str, *, replace: bool = False) -> None:
    store.datasets.create(NewDataset(dataset_id=id, name=name, replace=replace))


def ingest(store: Store, id: str) -> str:
    new = new_job(kind="ingest", pool=f"ingest-{id}", dataset_id=id, folder=f"datasets/{id}")
    return store.jobs.submit(new, job_id=fresh_id("ing")).job_id


def make_ready(store: Store, id: str) -> None:
    ingest(store, id)
    store.queue.complete(
        claimed(store, pool=f"ingest-{id}"),
        artifacts=(),
        artifacts_folder=f"datasets/{id}/attempts/1/pack",
        facts_json=facts().model_dump_json(),
    )


def make_failed(store: Store, id: str) -> None:
    ingest(store, id)
    lease = claimed(store, pool=f"ingest-{id}")
    store.queue.fail(lease, code="bad_dataset", message="m", hint="h", retry=False)


def train(store: Store, *, on: str, test: str | None = None) -> str:
    inputs = {"dataset": f"datasets/{on}/attempts/1/pack"}
    if test:
        inputs["test_dataset"] = f"datasets/{test}/attempts/1/pack"
    return store.jobs.submit(new_job(dataset_id=on, inputs=inputs), job_id=fresh_id("job")).job_id


def test_a_deleted_dataset_leaves_nothing_behind(redis_store: Store) -> None:
    before = dump(redis_store)
    for make in (make_ready, make_failed):
        new_dataset(redis_store, "ds_1", "a")
        make(redis_store, "ds_1")
        redis_store.datasets.delete("ds_1")
        for name in ("ds_1", "a"):
            with pytest.raises(NotFound):
                redis_store.datasets.get(name)
        left = set(dump(redis_store)) - set(before)
        kept = (KEYS["counters"], KEYS["pools"], KEYS["op"], KEYS["nonce"], KEYS["seq"])
        assert [key for key in left if not key.startswith((*kept, KEYS["wake"]))] == []
    new_dataset(redis_store, "ds_2", "a")
    redis_store.datasets.delete("ds_2")
    redis_store.datasets.delete("ds_2")
    with pytest.raises(NotFound):
        redis_store.datasets.delete("ds_3")


@pytest.mark.parametrize("state", ["queued", "running", "stopping", "paused"])
@pytest.mark.parametrize("role", ["dataset", "test_dataset"])
def test_a_job_that_has_not_ended_keeps_its_datasets(
    redis_store: Store, state: str, role: str
) -> None:
    for n, name in enumerate("ab", start=1):
        new_dataset(redis_store, f"ds_{n}", name)
        make_ready(redis_store, f"ds_{n}")
    job = train(redis_store, on="ds_1", test="ds_2")
    if state in ("running", "stopping"):
        claimed(redis_store)
    if state in ("stopping", "paused"):
        redis_store.jobs.pause(job)
    doomed = "ds_1" if role == "dataset" else "ds_2"
    before = dump(redis_store)
    with pytest.raises(DatasetInUse) as refused:
        redis_store.datasets.delete(doomed)
    assert refused.value.jobs == (job,)
    assert job in str(refused.value)
    assert dump(redis_store) == before
    assert redis_store.datasets.users(doomed) == (job,)


def test_an_ended_job_keeps_nothing_and_cannot_be_resumed(redis_store: Store) -> None:
    new_dataset(redis_store, "ds_1", "a")
    make_ready(redis_store, "ds_1")
    job = train(redis_store, on="ds_1")
    redis_store.jobs.cancel(job)
    redis_store.datasets.delete("ds_1")
    with pytest.raises(WrongState, match="deleted"):
        redis_store.jobs.resume(job)
    assert redis_store.jobs.get(job).status == "cancelled"
    with pytest.raises(NotFound, match="ds_1"):
        train(redis_store, on="ds_1")


def test_an_ingest_at_work_keeps_its_dataset(redis_store: Store) -> None:
    new_dataset(redis_store, "ds_1", "a")
    job = ingest(redis_store, "ds_1")
    with pytest.raises(DatasetInUse) as refused:
        redis_store.datasets.delete("ds_1")
    assert refused.value.jobs == (job,)
    redis_store.jobs.cancel(job)
    redis_store.datasets.delete("ds_1")
    with pytest.raises(NotFound):
        redis_store.jobs.get(job)


def test_a_failed_dataset_gives_its_name_away(redis_store: Store) -> None:
    new_dataset(redis_store, "ds_1", "a")
    make_failed(redis_store, "ds_1")
    assert redis_store.datasets.get("a").status == "failed"
    done = redis_store.datasets.create_once(NewDataset(dataset_id="ds_2", name="a"))
    assert (done.record.id, done.record.is_current, done.displaced_id) == ("ds_2", True, "ds_1")
    assert redis_store.datasets.get("a").id == "ds_2"
    redis_store.datasets.delete("ds_2")
    with pytest.raises(NotFound):
        redis_store.datasets.get("a")


def test_the_same_key_makes_one_dataset(redis_store: Store) -> None:
    new = NewDataset(dataset_id="ds_1", name="a")
    redis_store.datasets.create_once(new, idempotency_key="k", fingerprint="f")
    again = NewDataset(dataset_id="ds_2", name="a")
    done = redis_store.datasets.create_once(again, idempotency_key="k", fingerprint="f")
    assert (done.record.id, done.replayed) == ("ds_1", True)
    with pytest.raises(IdempotencyConflict):
        redis_store.datasets.create_once(again, idempotency_key="k", fingerprint="other")
    redis_store.datasets.delete("ds_1")
    done = redis_store.datasets.create_once(again, idempotency_key="k", fingerprint="other")
    assert (done.record.id, done.replayed) == ("ds_2", False)


@dataclass
class Known:
    """A dataset of the model."""

    name: str
    replace: bool
    status: str = "received"
    named: int = 0
    """Order in which it took its name; 0: it never did."""


@dataclass
class NameModel:
    """The name leads to the dataset that took it last, of those that there are."""

    clock: int = 0
    datasets: dict[str, Known] = field(default_factory=dict)
    needed: dict[str, str] = field(default_factory=dict)
    """Live job -> its dataset."""

    def holder(self, name: str) -> str | None:
        named = [(one.named, id) for id, one in self.datasets.items() if one.name == name]
        best = max(named, default=(0, ""))
        return best[1] if best[0] else None

    def take(self, id: str) -> None:
        self.clock += 1
        self.datasets[id].named = self.clock


NAMES = st.sampled_from("ab")


class Names(RuleBasedStateMachine):
    store: ClassVar[Store]
    ids = Bundle[str]("ids")

    @initialize()
    def start(self) -> None:
        empty(self.store)
        self.model = NameModel()

    @rule(target=ids, name=NAMES, replace=st.booleans())
    def create(self, name: str, replace: bool) -> str:
        id, holder = fresh_id("ds"), self.model.holder(name)
        has_failed = holder is not None and self.model.datasets[holder].status == "failed"
        has_failed = has_failed and not replace
        new = NewDataset(dataset_id=id, name=name, replace=replace)
        if holder and not has_failed and not replace:
            with pytest.raises(NameTaken):
                self.store.datasets.create(new)
            return id
        done = self.store.datasets.create_once(new)
        self.model.datasets[id] = Known(name, replace)
        assert done.displaced_id == (holder if has_failed else None)
        if has_failed and holder:
            self.model.datasets[holder].named = 0
        if not replace:
            self.model.take(id)
        return id

    @rule(id=ids, fails=st.booleans())
    def prepare(self, id: str, fails: bool) -> None:
        known = self.model.datasets.get(id)
        if known is None or known.status == "ready":
            return
        (make_failed if fails else make_ready)(self.store, id)
        known.status = "failed" if fails else "ready"
        if known.replace and not fails:
            self.model.take(id)

    @rule(id=ids, name=NAMES)
    def rename(self, id: str, name: str) -> None:
        known = self.model.datasets.get(id)
        if known is None:
            return
        holder = self.model.holder(name)
        if holder not in (None, id):
            with pytest.raises(NameTaken):
                self.store.datasets.rename(id, name)
            return
        assert self.store.datasets.rename(id, name).name == name
        if holder is None:
            known.name, known.replace = name, False
            self.model.take(id)

    @rule(id=ids)
    def use(self, id: str) -> None:
        if id in self.model.datasets:
            self.model.needed[train(self.store, on=id)] = id

    @rule(which=st.integers(0, 9))
    def end_a_job(self, which: int) -> None:
        if self.model.needed:
            job = sorted(self.model.needed)[which % len(self.model.needed)]
            self.store.jobs.cancel(job)
            del self.model.needed[job]

    @rule(id=ids)
    def delete(self, id: str) -> None:
        if id not in self.model.datasets:
            return
        jobs = sorted(job for job, needs in self.model.needed.items() if needs == id)
        if jobs:
            with pytest.raises(DatasetInUse) as refused:
                self.store.datasets.delete(id)
            assert list(refused.value.jobs) == jobs
        else:
            self.store.datasets.delete(id)
            del self.model.datasets[id]

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "model"):
            return
        records = {one.id: one for one in self.store.datasets.list(limit=1000).data}
        assert records.keys() == self.model.datasets.keys()
        for id, one in self.model.datasets.items():
            record = records[id]
            assert (record.name, record.status) == (one.name, one.status)
            assert record.is_current == (self.model.holder(one.name) == id)
        for name in "ab":
            holder = self.model.holder(name)
            found = self.store.datasets.find([name])
            assert ({record.id for record in found.values()}) == ({holder} if holder else set())


def test_names_lead_where_the_model_says(redis_store: Store) -> None:
    Names.store = redis_store
    run_state_machine_as_test(
        Names,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            phases=[Phase.generate],
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
