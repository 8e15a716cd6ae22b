"""The API as a real process, killed at each of its commit windows, then started again."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.ledger.audit import audit
from service.store.embedded.server import RunningRedis
from tests.service.test_main import answers, environment, free_port, process
from tests.support.service.api import KEY, client_of, ready_dataset
from tests.support.service.job_lives import World
from tests.support.service.redis import empty, opened_store
from tests.support.system.processes import wait_until

KILLED = -9


@contextmanager
def api(
    redis: RunningRedis, data_dir: Path, failpoints: str = ""
) -> Iterator[tuple[httpx.Client, "subprocess.Popen[str]"]]:
    """A started API."""
    port = free_port()
    settings: dict[str, Any] = {"failpoints": failpoints} if failpoints else {}
    env = environment(data_dir, redis_url=redis.url, port=port, api_key=KEY, **settings)
    with process(env=env) as running, client_of(f"http://127.0.0.1:{port}") as client:
        wait_until(lambda: answers(client) or running.poll() is not None, 60, "the API")
        yield client, running


def post(client: httpx.Client, key: str) -> httpx.Response:
    return client.post("/v1/jobs", json={"dataset": "d"}, headers={"Idempotency-Key": key})


def listed(client: httpx.Client) -> dict[str, str]:
    return {one["id"]: one["status"] for one in client.get("/v1/jobs").json()["data"]}


@pytest.fixture
def redis(api_redis: RunningRedis) -> RunningRedis:
    """With one dataset that is ready, which has no ledger."""
    with opened_store(api_redis.url) as store:
        empty(store)
        ready_dataset(store, "d")
    return api_redis


def wrong(redis: RunningRedis, data_dir: Path) -> list[str]:
    with opened_store(redis.url) as store:
        found = audit(store, data_dir).findings
    return [one.what for one in found if one.what not in ("no_ledger", "bad_pack")]


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("api.pre_ledger", marks=pytest.mark.chaos),
        pytest.param("api.pre_submit", marks=pytest.mark.chaos),
        "api.post_submit",
    ],
)
def test_a_submit_happens_once(redis: RunningRedis, tmp_path: Path, place: str) -> None:
    with api(redis, tmp_path, f"{place}=SIGKILL@2") as (client, running):
        first = post(client, "one").json()["id"]
        with pytest.raises(httpx.TransportError):
            post(client, "two")
        assert running.wait(20) == KILLED
    with api(redis, tmp_path) as (client, _):
        second = post(client, "two").json()["id"]
        assert post(client, "two").json()["id"] == second
        assert post(client, "one").json()["id"] == first
        assert listed(client) == {first: "queued", second: "queued"}
    assert {path.name for path in (tmp_path / "jobs").iterdir()} == {first, second}
    assert wrong(redis, tmp_path) == []


@pytest.mark.parametrize(
    "place", [pytest.param("api.pre_control", marks=pytest.mark.chaos), "api.post_control"]
)
def test_a_control_is_asked_again(redis: RunningRedis, tmp_path: Path, place: str) -> None:
    with api(redis, tmp_path, f"{place}=SIGKILL") as (client, running):
        job = post(client, "one").json()["id"]
        with pytest.raises(httpx.TransportError):
            client.post(f"/v1/jobs/{job}/pause")
        assert running.wait(20) == KILLED
    with opened_store(redis.url) as store:
        empty(store)  # the disk alone remembers that it was asked
        with api(redis, tmp_path) as (client, _):
            assert listed(client) == {job: "paused"}
            assert client.post(f"/v1/jobs/{job}/resume").json()["status"] == "queued"
    assert wrong(redis, tmp_path) == []


@pytest.mark.parametrize(
    "place", [pytest.param("api.pre_delete", marks=pytest.mark.chaos), "api.post_delete"]
)
def test_a_deletion_leaves_nothing_that_comes_back(
    redis: RunningRedis, tmp_path: Path, place: str
) -> None:
    with api(redis, tmp_path, f"{place}=SIGKILL") as (client, running):
        job = post(client, "one").json()["id"]
        assert client.post(f"/v1/jobs/{job}/cancel").status_code == 200
        with pytest.raises(httpx.TransportError):
            client.delete(f"/v1/jobs/{job}")
        assert running.wait(20) == KILLED
    with api(redis, tmp_path) as (client, _):
        assert client.delete(f"/v1/jobs/{job}").status_code in (204, 404)
        assert listed(client) == {}
    with opened_store(redis.url) as store:
        empty(store)
    with api(redis, tmp_path) as (client, _):
        assert listed(client) == {}
    assert not (tmp_path / "jobs" / job).exists()
    assert wrong(redis, tmp_path) == []


@pytest.mark.parametrize("starts_before", [True, False])
def test_a_deletion_cut_short_takes_no_job_that_then_succeeds(
    redis: RunningRedis, tmp_path: Path, starts_before: bool
) -> None:
    """It holds with and without an API started between the kill and the loss of Redis."""
    with opened_store(redis.url) as store:
        world = World(store, tmp_path)
        with api(redis, tmp_path, "api.pre_delete=SIGKILL@1") as (client, running):
            job = post(client, "one").json()["id"]
            assert world.claim() is not None
            with pytest.raises(httpx.TransportError):
                client.delete(f"/v1/jobs/{job}")
            assert running.wait(20) == KILLED
        world.complete(job, b"weights")
        if starts_before:
            with api(redis, tmp_path) as (client, _):
                assert listed(client) == {job: "succeeded"}
        empty(store)
        with api(redis, tmp_path) as (client, _):
            assert listed(client) == {job: "succeeded"}
            assert client.get(f"/v1/jobs/{job}/artifacts/a.bin").content == b"weights"
    assert wrong(redis, tmp_path) == []


@pytest.mark.parametrize(
    "place",
    [pytest.param("api.pre_dataset_delete", marks=pytest.mark.chaos), "api.post_dataset_delete"],
)
def test_a_deletion_of_a_dataset_leaves_nothing_that_comes_back(
    redis: RunningRedis, tmp_path: Path, place: str
) -> None:
    with api(redis, tmp_path, f"{place}=SIGKILL") as (client, running):
        dataset = client.post("/v1/datasets", json={"name": "doomed"}).json()["id"]
        kept = client.post("/v1/datasets", json={"name": "kept"}).json()["id"]
        with pytest.raises(httpx.TransportError):
            client.delete(f"/v1/datasets/{dataset}")
        assert running.wait(20) == KILLED
    with api(redis, tmp_path) as (client, _):
        assert client.delete(f"/v1/datasets/{dataset}").status_code == 204
        assert client.get("/v1/datasets/doomed").status_code == 404
    with opened_store(redis.url) as store:
        empty(store)
    with api(redis, tmp_path) as (client, _):
        assert [one["id"] for one in client.get("/v1/datasets").json()["data"]] == [kept]
        assert client.post("/v1/datasets", json={"name": "doomed"}).status_code == 201
    assert not (tmp_path / "datasets" / dataset).exists()
    assert wrong(redis, tmp_path) == []


def test_flushall_under_a_running_api_and_a_kill_in_the_rebuild(
    redis: RunningRedis, tmp_path: Path
) -> None:
    with (
        opened_store(redis.url) as store,
        api(redis, tmp_path, "reconcile.mid=SIGKILL") as (client, running),
    ):
        jobs = {post(client, str(n)).json()["id"]: "queued" for n in range(3)}
        empty(store)
        assert client.get("/v1/jobs").status_code == 503, "no answer is better than a wrong one"
        assert running.wait(30) == KILLED
    with opened_store(redis.url) as store, api(redis, tmp_path) as (client, _):
        assert listed(client) == jobs
        empty(store)
        until_s = time.monotonic() + 30
        while (answer := client.get("/v1/jobs")).status_code == 503:
            assert "Retry-After" in answer.headers
            assert time.monotonic() < until_s
            time.sleep(0.05)
        assert listed(client) == jobs
        assert wrong(redis, tmp_path) == []


def test_bad_failpoints_are_refused(redis: RunningRedis, tmp_path: Path) -> None:
    with process(env=environment(tmp_path, failpoints="nowhere=SIGKILL")) as running:
        assert running.wait(60) == 78
        assert "there is no failpoint" in running.communicate()[1]
