"""Jobs over HTTP: submitted once, previewed, listed, cached, controlled, deleted."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from service.api.schemas import examples
from tests.support.service.api import (
    RunningApi,
    claim,
    facts,
    finished_job,
    queued_job,
    ready_dataset,
    running_job,
)
from tests.support.service.redis import worker
from tests.support.system.disk_usage import du
from trainer.schema.events import SideHistogram
from trainer.schema.verdicts import of_code
from trainer.spec.cost import estimate
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec
from trainer.spec.resolved import as_resolved


@pytest.fixture(scope="module")
def dataset(api: RunningApi) -> str:
    ready_dataset(api.store, "jobs-test", labels=("cat",))
    return ready_dataset(api.store, "jobs-train").name


def test_submitted_with_everything_filled_in(api: RunningApi, dataset: str) -> None:
    sent = {"dataset": dataset, "test_dataset": "jobs-test", "epochs": 7, "metadata": {"who": "me"}}
    answer = api.client.post("/v1/jobs", json=sent)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{body['id']}"
    assert (body["object"], body["status"], body["attempt"]) == ("job", "queued", 0)
    assert body["spec"] == sent
    expected = resolve(JobSpec.model_validate(sent), facts())
    assert body["resolved"] == json.loads(expected.spec.model_dump_json())
    assert body["reasons"] == expected.reasons
    record = api.store.jobs.get(body["id"])
    train, test = (api.store.datasets.get(name) for name in (dataset, "jobs-test"))
    assert record.inputs == {"dataset": train.pack, "test_dataset": test.pack}
    assert record.folder == f"jobs/{body['id']}"
    assert body["dataset_id"] == train.id
    assert as_resolved(JobSpec.model_validate_json(record.resolved_json)) == expected.spec
    got = api.client.get(f"/v1/jobs/{body['id']}").json()
    of_the_moment = dict.fromkeys(
        ("queue_position", "stored_bytes", "status_reason", "waiting_reason")
    )
    assert got | of_the_moment == body | of_the_moment


def test_by_id_of_the_dataset(api: RunningApi, dataset: str) -> None:
    record = api.store.datasets.get(dataset)
    answer = api.client.post("/v1/jobs", json={"dataset": record.id, "optim": {"name": "adamw"}})
    assert answer.status_code == 201, answer.text
    assert api.store.jobs.get(answer.json()["id"]).inputs == {"dataset": record.pack}


def test_retries_and_pool_are_those_of_the_spec(api: RunningApi, dataset: str) -> None:
    spec = {"dataset": dataset, "pool": "night", "retry": {"max_failures": 3}, "name": "n"}
    record = api.store.jobs.get(api.client.post("/v1/jobs", json=spec).json()["id"])
    assert (record.pool, record.name) == ("night", "n")
    depths = {p["pool"]: p["depth"] for p in api.client.get("/v1/queue").json()["pools"]}
    assert depths["night"] == 1


@pytest.mark.parametrize(
    ("sent", "pointers"),
    [
        ({"resources": {"gpus": 3}, "batch_rows": 32}, ["#/resources/gpus", "#/batch_rows"]),
        (
            {"resources": {"gpus": 2}, "method": {"name": "moco", "bn": "plain"}},
            ["#/method/bn", "#/resources/gpus"],
        ),
        ({"resources": {"gpus": 3, "nodes": 2}}, ["#/resources/nodes"]),
    ],
)
def test_a_batch_that_gpus_cannot_share_is_refused_at_its_fields(
    api: RunningApi, dataset: str, sent: dict[str, Any], pointers: list[str]
) -> None:
    for query in ("", "?dry_run=true"):
        answer = api.client.post(f"/v1/jobs{query}", json={"dataset": dataset, **sent})
        assert answer.status_code == 422, answer.text
        assert [error["pointer"] for error in answer.json()["errors"]] == pointers


def test_twenty_at_once_with_one_key_are_one_job(api: RunningApi, dataset: str) -> None:
    gate = threading.Barrier(20)
    headers = {"Idempotency-Key": "jobs-twenty"}

    def post(turn: int) -> httpx.Response:
        # The same words in another order are the same body.
        body = {"dataset": dataset, "epochs": 5}
        gate.wait()
        sent = body if turn % 2 else dict(reversed(body.items()))
        return api.client.post("/v1/jobs", json=sent, headers=headers)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(post, range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert {answer.headers.get("idempotent-replayed") for answer in answers} == {None, "true"}
    other = api.client.post("/v1/jobs", json={"dataset": dataset, "epochs": 6}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")


def test_without_a_key_each_post_is_a_job(api: RunningApi, dataset: str) -> None:
    ids = {api.client.post("/v1/jobs", json={"dataset": dataset}).json()["id"] for _ in range(3)}
    assert len(ids) == 3


def test_dry_run_warns_of_views_that_ask_for_more_than_is_stored(api: RunningApi) -> None:
    sides = SideHistogram(edges_px=(1200, 1201), rows=(1000,))
    sizes = {"side_px_min": 256, "side_px_median": 256, "side_px_max": 340}
    ready_dataset(api.store, "photos", **sizes, sides_sent=sides)
    for side_px, codes in ((64, []), (224, ["views_enlarged"])):
        sent = {"dataset": "photos", "views": {"side_px": side_px, "crop_scale": [0.2, 1.0]}}
        preview = api.client.post("/v1/jobs?dry_run=true", json=sent).json()
        assert [warning["code"] for warning in preview["warnings"]] == codes
    assert "--side-px-max 501" in preview["warnings"][0]["hint"]


def test_dry_run_tells_and_queues_nothing(api: RunningApi, dataset: str) -> None:
    sent = {"dataset": dataset, "encoder": {"name": "resnet34"}}
    before = api.store.counters.read().get("submitted", 0)
    preview = api.client.post("/v1/jobs?dry_run=true", json=sent).json()
    expected = resolve(JobSpec.model_validate(sent), facts())
    cost = estimate(expected.spec, facts())
    assert preview["object"] == "job.preview"
    assert preview["resolved"] == json.loads(expected.spec.model_dump_json())
    assert (preview["steps"], preview["memory_bytes"]) == (cost.steps, cost.memory_bytes)
    assert preview["eta_s"] is None
    assert "no comparable job" in preview["eta_basis"]
    assert api.store.counters.read().get("submitted", 0) == before


@pytest.mark.parametrize(
    ("workers", "is_guessed"),
    [
        ([{"device": "cpu"}], True),
        ([{"device": "cpu"}, {"id": "w-2", "device": "cuda:0"}], False),
        ([{"device": "cpu", "pools": ("night",)}], False),
    ],
)
def test_the_first_job_on_a_cpu_has_a_guessed_time(
    api: RunningApi, dataset: str, workers: list[dict[str, Any]], is_guessed: bool
) -> None:
    """Show the guessed time of a job that takes a day. The oracle is the arithmetic of a step."""
    for each in workers:
        api.store.workers.beat(worker(**each))
    sent = {"dataset": dataset, "encoder": {"name": "resnet34"}}
    preview = api.client.post("/v1/jobs?dry_run=true", json=sent).json()
    if not is_guessed:
        assert preview["eta_s"] is None
        return
    cost = estimate(resolve(JobSpec.model_validate(sent), facts()).spec, facts())
    rows = cost.steps * preview["resolved"]["batch_rows"]
    assert preview["eta_s"] == pytest.approx(rows * cost.flops_per_row / 1e11)
    assert "rough estimate" in preview["eta_basis"]


def test_the_time_comes_from_a_measured_speed(api: RunningApi, dataset: str) -> None:
    sent = {"dataset": dataset, "encoder": {"name": "small"}}
    spec = resolve(JobSpec.model_validate(sent), facts()).spec
    stored = json.loads(spec.model_dump_json())
    del stored["views"]["count"]  # as an earlier version has it
    lease = running_job(api.store, resolved_json=json.dumps(stored))
    api.store.queue.append(lease, [], {"step": 1, "rows_per_s": 500.0})
    api.store.queue.complete(lease, artifacts=(), artifacts_folder="x")
    preview = api.client.post("/v1/jobs?dry_run=true", json=sent).json()
    rows = preview["steps"] * preview["resolved"]["batch_rows"]
    assert preview["eta_s"] == pytest.approx(rows / 500.0)
    assert lease.job_id in preview["eta_basis"]
    other = api.client.post("/v1/jobs?dry_run=true", json=sent | {"views": {"side_px": 24}}).json()
    assert other["eta_s"] is None, "another side has another speed"
    more = sent | {"method": {"name": "supcon"}, "views": {"count": 3}}
    assert api.client.post("/v1/jobs?dry_run=true", json=more).json()["eta_s"] is None
    shared = sent | {"resources": {"gpus": 2}}
    assert api.client.post("/v1/jobs?dry_run=true", json=shared).json()["eta_s"] is None


def test_a_profile_is_shown_with_the_job_and_listed_among_its_files(api: RunningApi) -> None:
    job = finished_job(api, {"profile.json": b"{}"}, step=1200, profile=examples.PROFILE)
    plain = finished_job(api, {"README.md": b"a card"}, step=1200)
    assert api.client.get(f"/v1/jobs/{job}").json()["progress"]["profile"] == examples.PROFILE
    assert api.client.get(f"/v1/jobs/{plain}").json()["progress"]["profile"] is None
    (file,) = api.client.get(f"/v1/jobs/{job}/artifacts").json()["data"]
    assert api.client.get(file["url"]).content == b"{}"


def test_a_run_of_an_older_version_is_judged_by_its_newest_signals(api: RunningApi) -> None:
    job = queued_job(api.store)
    lease = claim(api.store, api.store.jobs.get(job).pool)
    signals = {"loss": 3.464, "chance_loss": 3.497, "top1": 0.05, "negatives_fill_ratio": 1.0}
    progress = {"step": 40, "steps": 40, "epoch": 10.0, "signals": signals}
    api.store.queue.append(lease, [json.dumps({"type": "logged", "message": "x"})], progress)
    told = api.client.get(f"/v1/jobs/{job}").json()["progress"]["verdict"]
    assert told["code"] == "at_chance"
    assert told["evidence"] == "Loss 3.464 (chance 3.497)."
    assert told["advice"] == of_code("at_chance").advice


def test_a_job_asks_for_a_profile(api: RunningApi, dataset: str) -> None:
    sent = {"dataset": dataset, "profile": True}
    body = api.client.post("/v1/jobs", json=sent).json()
    assert body["resolved"]["profile"] is True
    assert "profile" not in body["reasons"]
    plain = api.client.post("/v1/jobs", json={"dataset": dataset}).json()
    assert plain["resolved"]["profile"] is False
    wrong = api.client.post("/v1/jobs", json={"dataset": dataset, "profile": "yes"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "#/profile")


def test_pages_with_several_statuses(api: RunningApi) -> None:
    made = [queued_job(api.store) for _ in range(4)]
    made += [running_job(api.store).job_id for _ in range(4)]
    made += [finished_job(api, {}) for _ in range(2)]
    for job in made[1:3]:
        assert api.client.post(f"/v1/jobs/{job}/cancel").status_code == 200
    wanted = {"running", "cancelled"}
    seen: list[str] = []
    params: dict[str, object] = {"status": sorted(wanted), "limit": 3}
    while True:
        body = api.client.get("/v1/jobs", params=params).json()  # type: ignore[arg-type]
        assert len(body["data"]) <= 3
        assert {job["status"] for job in body["data"]} <= wanted
        seen += [job["id"] for job in body["data"]]
        if not body["has_more"]:
            break
        assert len(body["data"]) == 3
        params["after"] = body["last_id"]
    everything = api.client.get("/v1/jobs", params={"limit": 100}).json()["data"]
    assert seen == [job["id"] for job in everything if job["status"] in wanted]
    assert seen == sorted(seen, reverse=True)
    assert {made[1], made[2], *made[4:8]} <= set(seen)


def test_an_etag_for_whoever_polls(api: RunningApi) -> None:
    lease = running_job(api.store)
    path = f"/v1/jobs/{lease.job_id}"
    etag = api.client.get(path).headers["etag"]
    same = api.client.get(path, headers={"If-None-Match": etag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    api.store.queue.append(lease, [], {"step": 5, "signals": {"loss": 6.5}})
    changed = api.client.get(path, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag
    assert changed.json()["progress"]["signals"] == {"loss": 6.5}


def test_cancel_pause_resume(api: RunningApi) -> None:
    waiting, runs = queued_job(api.store), running_job(api.store)

    def post(job: str, verb: str) -> tuple[int, str]:
        answer = api.client.post(f"/v1/jobs/{job}/{verb}")
        return answer.status_code, answer.json().get("status")

    assert post(waiting, "pause") == (200, "paused")
    assert post(waiting, "resume") == (200, "queued")
    assert post(waiting, "cancel") == (200, "cancelled")
    assert post(runs.job_id, "pause") == (202, "stopping")
    assert api.store.queue.renew(runs) == "pause"
    assert api.store.queue.release(runs) == "paused"
    body = api.client.get(f"/v1/jobs/{runs.job_id}").json()
    assert body["status_reason"]["code"] == "paused"
    assert post(runs.job_id, "resume") == (200, "queued")
    assert post(runs.job_id, "cancel") == (200, "cancelled")


def test_deleted_with_its_files_and_nothing_else(api: RunningApi) -> None:
    job, other = finished_job(api, {"a.bin": b"a"}), finished_job(api, {"a.bin": b"a"})
    outside = api.data_dir / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (api.data_dir / "jobs" / job / "link").symlink_to(outside)
    answer = api.client.delete(f"/v1/jobs/{job}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert not (api.data_dir / "jobs" / job).exists()
    assert (outside / "kept").read_text() == "kept"
    assert api.client.get(f"/v1/jobs/{job}").status_code == 404
    assert api.client.get(f"/v1/jobs/{job}/events").status_code == 404
    assert api.client.get(f"/v1/jobs/{other}/artifacts/a.bin").content == b"a"


def test_a_worker_tells_its_slots_and_jobs(api: RunningApi) -> None:
    busy = worker(id="gpu-8", state="busy", job_id="a", jobs=("a", "b"), slots=8, slots_busy=5)
    api.store.workers.beat(busy)
    found = {one["id"]: one for one in api.client.get("/v1/workers").json()["data"]}["gpu-8"]
    assert (found["slots"], found["slots_busy"], found["jobs"]) == (8, 5, ["a", "b"])
    assert found["job_id"] == "a"
    api.store.workers.leave("gpu-8")


def test_workers_are_listed_and_drained(api: RunningApi) -> None:
    api.store.workers.beat(worker(id="gpu-1", pools=("train", "night"), state="busy"))
    found = api.client.get("/v1/workers").json()["data"]
    mine = next(one for one in found if one["id"] == "gpu-1")
    assert (mine["state"], mine["pools"], mine["info"]) == (
        "busy",
        ["train", "night"],
        {"threads": 2},
    )
    answer = api.client.post("/v1/workers/gpu-1/drain")
    assert (answer.status_code, answer.json()["state"]) == (202, "draining")
    assert api.store.workers.beat(worker(id="gpu-1")).draining is True
    answer = api.client.post("/v1/workers/gpu-1/undrain")
    assert (answer.status_code, answer.json()["state"]) == (200, "idle")
    assert api.store.workers.beat(worker(id="gpu-1")).draining is False


def waits(api: RunningApi, job: str) -> str | None:
    """Return the reason a job waits, the same in `GET` of the job and of the list."""
    reason = api.client.get(f"/v1/jobs/{job}").json()["status_reason"]
    listed = api.client.get("/v1/jobs?limit=100").json()["data"]
    assert [one["status_reason"] for one in listed if one["id"] == job] == [reason]
    return reason["code"] if reason else None


def warned(api: RunningApi, pool: str) -> list[str]:
    found = api.client.get("/readyz").json()["warnings"]
    return [one["code"] for one in found if f"{pool} pool" in one["message"]]


def test_a_job_says_that_nobody_takes_it(api: RunningApi) -> None:
    """A typo in the pool, then a worker that is drained, undrained, and lost."""
    job = queued_job(api.store, pool="tarin")
    assert waits(api, job) == "no_worker"
    reason = api.client.get(f"/v1/jobs/{job}").json()["status_reason"]
    assert "tarin" in reason["message"]
    assert "MOCO_POOLS=tarin" in reason["hint"]
    assert warned(api, "tarin") == ["no_worker"]
    etag = api.client.get(f"/v1/jobs/{job}").headers["etag"]
    for id in ("w-1", "w-2"):
        api.store.workers.beat(worker(id=id, pools=("tarin",)))
    assert waits(api, job) is None
    fresh = api.client.get(f"/v1/jobs/{job}", headers={"If-None-Match": etag})
    assert fresh.status_code == 200, "what is shown has changed, and so has its tag"
    api.client.post("/v1/workers/w-1/drain")
    assert (waits(api, job), warned(api, "tarin")) == (None, [])
    api.client.post("/v1/workers/w-2/drain")
    assert waits(api, job) == "workers_draining"
    hint = api.client.get(f"/v1/jobs/{job}").json()["status_reason"]["hint"]
    assert "moco workers undrain w-1" in hint
    assert warned(api, "tarin") == ["workers_draining"]
    api.client.post("/v1/workers/w-2/undrain")
    assert (waits(api, job), warned(api, "tarin")) == (None, [])
    api.client.post(f"/v1/jobs/{job}/cancel")
    assert waits(api, job) == "cancelled"


def test_the_pool_of_ingests_is_reserved(api: RunningApi) -> None:
    ready_dataset(api.store, "for-pools")
    body = {"dataset": "for-pools", "pool": "ingest"}
    for query in ("", "?dry_run=true"):
        answer = api.client.post(f"/v1/jobs{query}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
        assert answer.json()["errors"][0]["pointer"] == "#/pool"
    assert api.client.post("/v1/jobs", json=body | {"pool": "night"}).status_code == 201


def test_the_disk_is_told_as_du_counts_it(api: RunningApi) -> None:
    job = finished_job(api, {"a.bin": b"x" * 50_000})
    shown = api.client.get(f"/v1/jobs/{job}").json()
    assert shown["stored_bytes"] == du(api.data_dir / "jobs" / job) > 50_000
    found = api.client.get("/v1/storage").json()
    assert found["total_bytes"] == sum(found["uses"].values())
    assert abs(found["total_bytes"] - du(api.data_dir)) < 64 * 1024
    assert found["uses"]["artifacts"] > 50_000
    assert found["free_bytes"] > 0


def test_version_and_readiness(api: RunningApi) -> None:
    assert api.client.get("/version").json()["api"] == "v1"
    ready = api.client.get("/readyz").json()
    assert ready["status"] == "ready"
    assert ready["disk_free_bytes"] > 0


def test_the_request_id_comes_back(api: RunningApi) -> None:
    good = api.client.get("/livez", headers={"X-Request-Id": "mine-1"})
    assert good.headers["x-request-id"] == "mine-1"
    for bad in ("a" * 65, "a b", "a{}"):
        made = api.client.get("/livez", headers={"X-Request-Id": bad}).headers["x-request-id"]
        assert made.startswith("req_")


def test_metrics_have_routes_and_no_jobs(api: RunningApi) -> None:
    job = queued_job(api.store)
    api.client.get(f"/v1/jobs/{job}")
    api.client.get("/v1/nothing")
    page = api.client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'handler="/v1/jobs/{id}",method="GET",status="200"' in page.text
    assert 'handler="unmatched",method="GET",status="404"' in page.text
    assert job not in page.text
