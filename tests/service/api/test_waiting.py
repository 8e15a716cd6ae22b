"""A queued job says over HTTP why it has not started."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.state_exporter import State
from service.store.job_queue import Offer
from tests.support.service.api import RunningApi, ready_dataset
from tests.support.service.redis import fresh_id, worker

POOL = "wide"


@pytest.fixture
def dataset(api: RunningApi) -> str:
    return ready_dataset(api.store, fresh_id("waits")).name


def submit(api: RunningApi, dataset: str, **spec: Any) -> str:  # noqa: ANN401
    answer = api.client.post("/v1/jobs", json={"dataset": dataset, "pool": POOL, **spec})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def of_gpus(gpus: int, nodes: int = 1) -> dict[str, Any]:
    return {
        "resources": {"gpus": gpus, "nodes": nodes},
        "batch_rows": gpus * 8,
        "method": {"name": "moco", "bn_splits": 2 * gpus},
    }


def shown(api: RunningApi, job: str) -> dict[str, Any]:
    record = api.client.get(f"/v1/jobs/{job}").json()
    listed = api.client.get("/v1/jobs?limit=100").json()["data"]
    (row,) = [row for row in listed if row["id"] == job]
    assert (row["status_reason"], row["waiting_reason"]) == (
        record["status_reason"],
        record["waiting_reason"],
    )
    return dict(record)


def claim(api: RunningApi, *, total: int) -> str | None:
    lease = api.store.queue.claim(
        pools=(POOL,),
        worker_id="gpu-node",
        nonce=fresh_id("nonce"),
        free_slots=total,
        total_slots=total,
    )
    return lease.job_id if lease else None


def test_a_job_of_nine_gpus_on_a_machine_of_eight_says_why_it_waits(
    api: RunningApi, dataset: str
) -> None:
    api.store.workers.beat(worker(id="gpu-node", pools=(POOL,), slots=8))
    nine = submit(api, dataset, **of_gpus(9))
    record = shown(api, nine)
    assert record["waiting_reason"] == record["status_reason"]
    assert record["waiting_reason"]["code"] == "no_worker_fits"
    assert "needs 9 slots" in record["waiting_reason"]["message"]
    assert "has 8" in record["waiting_reason"]["message"]
    assert (record["status"], record["queue_position"]) == ("queued", 1)
    warnings = api.client.get("/readyz").json()["warnings"]
    assert [row["code"] for row in warnings if "needs 9 slots" in row["message"]] == [
        "no_worker_fits"
    ]
    page = State(CollectorRegistry(), api.store, api.data_dir).render().decode()
    line = f'moco_queue_waiting{{pool="{POOL}",waiting_reason="no_worker_fits"}} 1.0'
    assert line in page.splitlines()
    one = submit(api, dataset)
    assert shown(api, one)["status_reason"] is None
    assert claim(api, total=8) == one, "it is not held up"
    assert shown(api, one)["waiting_reason"] is None
    api.store.workers.beat(worker(id="larger", pools=(POOL,), slots=16))
    record = shown(api, nine)
    assert record["status_reason"] is None
    assert record["waiting_reason"]["code"] == "waiting_for_slots"
    assert "Number 1" in record["waiting_reason"]["message"]
    assert "9 slots on one worker" in record["waiting_reason"]["message"]
    assert claim(api, total=16) == nine
    for id in ("gpu-node", "larger"):
        api.store.workers.leave(id)


def test_a_job_of_two_nodes_says_that_one_is_missing(api: RunningApi, dataset: str) -> None:
    api.store.workers.beat(worker(id="gpu-node", pools=(POOL,), slots=4))
    job = submit(api, dataset, **of_gpus(8, nodes=2))
    reason = shown(api, job)["waiting_reason"]
    assert reason["code"] == "no_worker_fits"
    assert "2 workers with 4 slots each" in reason["message"]
    api.store.workers.beat(worker(id="second", pools=(POOL,), slots=4))
    for ready in range(2):
        message = shown(api, job)["waiting_reason"]["message"]
        assert f"4 slots on each of 2 workers ({ready} of 2 ready)" in message
        offer = Offer("second", 4, 4, endpoint="second:1")
        assert api.store.queue.claim_seat(pools=(POOL,), nonce="n-second", offer=offer)
    for id in ("gpu-node", "second"):
        api.store.workers.leave(id)
    assert shown(api, job)["waiting_reason"]["code"] == "no_worker"
    api.store.jobs.cancel(job)
