from typing import Any

import pytest
from pydantic import ValidationError

from service.store.records import Lease, NewDataset
from service.store.store import Store
from service.store.store_errors import NameTaken, NotFound, WrongState
from tests.support.data.dataset_facts import made_up_facts
from tests.support.service.redis import claimed, dump, fresh_id, new_job, ticks

FACTS = made_up_facts(rows=90, bad_files=4, duplicates=3, labels=("a", "ü"), size_bytes=1234)


def ingesting(store: Store, dataset_id: str = "ds_1") -> str:
    """The id of a queued ingest of the dataset, which is made if need be."""
    store.datasets.create(NewDataset(dataset_id=dataset_id, name=f"name of {dataset_id}"))
    new = new_job(kind="ingest", pool="ingest", dataset_id=dataset_id, max_failures=0)
    return store.jobs.submit(new, job_id=fresh_id("ing")).job_id


def failed(store: Store, lease: Lease, *, retry: bool = False) -> None:
    store.queue.fail(lease, code="bad_dataset", message="No image.", hint="Look.", retry=retry)


def test_a_new_dataset_is_received_and_found_by_id_and_by_name(redis_store: Store) -> None:
    made = redis_store.datasets.create(
        NewDataset(dataset_id="ds_1", name="Röntgen", format="zip", size_bytes=0, sha256="ff")
    )
    assert (made.id, made.name, made.format, made.status) == ("ds_1", "Röntgen", "zip", "received")
    assert (made.size_bytes, made.sha256, made.source) == (0, "ff", None)
    assert (made.facts, made.pack, made.job_id, made.code) == (None, None, None, "")
    assert redis_store.datasets.get("ds_1") == made == redis_store.datasets.get("Röntgen")
    linked = redis_store.datasets.create(NewDataset(dataset_id="ds_2", name="b", source="photos/b"))
    assert (linked.size_bytes, linked.sha256, linked.source) == (None, None, "photos/b")
    for name in ("ds_3", "", "{moco}"):
        with pytest.raises(NotFound):
            redis_store.datasets.get(name)


def test_names_are_unique_and_creating_twice_makes_one(redis_store: Store) -> None:
    made = redis_store.datasets.create(NewDataset(dataset_id="ds_1", name="a"))
    before = dump(redis_store)
    assert redis_store.datasets.create(NewDataset(dataset_id="ds_1", name="a")) == made
    with pytest.raises(NameTaken) as taken:
        redis_store.datasets.create(NewDataset(dataset_id="ds_2", name="a"))
    assert taken.value.dataset_id == "ds_1"
    assert dump(redis_store) == before


def test_datasets_are_listed_newest_first_in_pages(redis_store: Store) -> None:
    for n in range(5):
        redis_store.datasets.create(NewDataset(dataset_id=f"ds_{n}", name=f"n{n}"))
    first = redis_store.datasets.list(limit=2)
    assert ([row.id for row in first.data], first.has_more) == (["ds_4", "ds_3"], True)
    rest = redis_store.datasets.list(after="ds_3", limit=3)
    assert ([row.id for row in rest.data], rest.has_more) == (["ds_2", "ds_1", "ds_0"], False)


def test_an_upload_is_told_once_and_not_replaced_while_it_is_prepared(redis_store: Store) -> None:
    redis_store.datasets.create(NewDataset(dataset_id="ds_1", name="name of ds_1"))
    uploaded = redis_store.datasets.set_uploaded("ds_1", size_bytes=9, sha256="aa")
    assert (uploaded.size_bytes, uploaded.sha256, uploaded.status) == (9, "aa", "received")
    redis_store.datasets.set_uploaded("ds_1", size_bytes=8, sha256="bb")
    ingesting(redis_store)
    assert redis_store.datasets.set_uploaded("ds_1", size_bytes=8, sha256="bb").sha256 == "bb"
    with pytest.raises(WrongState, match="preparing"):
        redis_store.datasets.set_uploaded("ds_1", size_bytes=9, sha256="aa")
    with pytest.raises(NotFound):
        redis_store.datasets.set_uploaded("ds_2", size_bytes=9, sha256="aa")


def test_an_ingest_makes_its_dataset_ready(redis_store: Store) -> None:
    job_id = ingesting(redis_store)
    dataset = redis_store.datasets.get("ds_1")
    assert (dataset.status, dataset.job_id) == ("preparing", job_id)
    lease = claimed(redis_store, pool="ingest")
    assert (lease.kind, lease.dataset_id) == ("ingest", "ds_1")
    for _ in range(2):
        redis_store.queue.complete(
            lease,
            artifacts=(),
            artifacts_folder="datasets/ds_1/attempts/1/pack",
            facts_json=FACTS.model_dump_json(),
        )
    dataset = redis_store.datasets.get("ds_1")
    assert (dataset.status, dataset.facts) == ("ready", FACTS)
    assert dataset.pack == "datasets/ds_1/attempts/1/pack"
    assert redis_store.counters.read() == {
        "ingest:submitted": 1,
        "ingest:finished:succeeded": 1,
        "dataset_images:ok": 90,
        "dataset_images:corrupt": 4,
        "dataset_images:skipped": 3,
        "dataset_bytes": 1234,
    }


def test_facts_that_are_none_are_refused_before_anything_changes(redis_store: Store) -> None:
    ingesting(redis_store)
    lease = claimed(redis_store, pool="ingest")
    before = dump(redis_store)
    with pytest.raises(ValidationError):
        redis_store.queue.complete(
            lease, artifacts=(), artifacts_folder="p", facts_json='{"rows": "many"}'
        )
    assert dump(redis_store) == before


def test_a_failed_ingest_tells_why_and_can_be_resumed(redis_store: Store) -> None:
    job_id = ingesting(redis_store)
    failed(redis_store, claimed(redis_store, pool="ingest"))
    dataset = redis_store.datasets.get("ds_1")
    assert (dataset.status, dataset.code) == ("failed", "bad_dataset")
    assert (dataset.message, dataset.hint) == ("No image.", "Look.")
    redis_store.jobs.resume(job_id)
    dataset = redis_store.datasets.get("ds_1")
    assert (dataset.status, dataset.code, dataset.message) == ("preparing", "", "")
    claimed(redis_store, pool="ingest")
    redis_store.jobs.cancel(job_id)
    ticks(redis_store, 15)
    dataset = redis_store.datasets.get("ds_1")
    assert (dataset.status, dataset.code) == ("failed", "cancelled")


def test_a_lost_or_paused_ingest_goes_on_preparing(redis_store: Store) -> None:
    job_id = ingesting(redis_store)
    claimed(redis_store, pool="ingest")
    ticks(redis_store, 15)
    assert redis_store.datasets.get("ds_1").status == "preparing"
    redis_store.jobs.pause(job_id)
    assert redis_store.datasets.get("ds_1").status == "preparing"


@pytest.mark.parametrize("status", ["preparing", "ready"])
def test_a_dataset_is_ingested_once_at_a_time(redis_store: Store, status: str) -> None:
    ingesting(redis_store)
    if status == "ready":
        lease = claimed(redis_store, pool="ingest")
        facts_json = FACTS.model_dump_json()
        redis_store.queue.complete(lease, artifacts=(), artifacts_folder="p", facts_json=facts_json)
    before = dump(redis_store)
    with pytest.raises(WrongState, match=status):
        ingesting(redis_store)
    assert dump(redis_store) == before


def test_an_ingest_that_another_replaced_touches_nothing(redis_store: Store) -> None:
    old = ingesting(redis_store)
    failed(redis_store, claimed(redis_store, pool="ingest"))
    new = ingesting(redis_store)
    with pytest.raises(WrongState, match="ingested again since"):
        redis_store.jobs.resume(old)
    redis_store.jobs.delete(old)
    dataset = redis_store.datasets.get("ds_1")
    assert (dataset.status, dataset.job_id) == ("preparing", new)


def test_an_ingest_of_an_unknown_dataset_is_refused(redis_store: Store) -> None:
    new = new_job(kind="ingest", pool="ingest", dataset_id="ds_9")
    with pytest.raises(NotFound, match="dataset 'ds_9'"):
        redis_store.jobs.submit(new, job_id="ing_1")
    assert dump(redis_store) == {}


def test_a_training_leaves_its_dataset_alone(redis_store: Store) -> None:
    redis_store.datasets.create(NewDataset(dataset_id="ds_1", name="a"))
    before = redis_store.datasets.get("ds_1")
    redis_store.jobs.submit(new_job(dataset_id="ds_1"), job_id="job_1")
    failed(redis_store, claimed(redis_store))
    assert redis_store.datasets.get("ds_1") == before


def test_hostile_names_stay_data(redis_store: Store) -> None:
    names: list[Any] = ["a\r\nFLUSHALL\r\n", "{moco}:tick", "*", "\x00", "x" * 1024, "' .. K.tick"]
    for n, name in enumerate(names):
        made = redis_store.datasets.create(NewDataset(dataset_id=f"ds_{n}", name=name))
        assert redis_store.datasets.get(name) == made
    assert len(redis_store.datasets.list().data) == len(names)
