"""Probes over the API: what is asked, what is refused, who may ask, and what is forgotten.

The worker is played; `tests/system/test_probes.py` has a real one.
"""

import os
from collections.abc import Iterator

import httpx
import pytest

from service.api.schemas.neighbours import RESULT
from service.jobs.neighbour_jobs import WAITING_MAX, each_probe, forget_old
from service.ledger.audit import audit
from service.store.embedded.server import RunningRedis
from tests.support.data.images import png
from tests.support.service.api import (
    Loose,
    RunningApi,
    claim,
    client_of,
    queued_job,
    ready_dataset,
    running_api,
    running_job,
)
from tests.support.service.neighbour_jobs import answered, trained
from tests.support.service.redis import empty, opened_store, ticks
from trainer.inference.neighbours.spec import NeighbourSearchSpec

READ_KEY = "moco_read_key_0123456789"
PNG = {"Content-Type": "image/png"}


@pytest.fixture
def api(api_redis: RunningRedis, tmp_path: Loose) -> Iterator[RunningApi]:
    with opened_store(api_redis.url) as store:
        empty(store)
    with running_api(api_redis.url, tmp_path, read_key=READ_KEY) as running:
        yield running


@pytest.fixture
def job(api: RunningApi) -> str:
    """A job that ended well, on a dataset of 1000 rows."""
    return trained(api)


def ask(api: RunningApi, job: str, body: Loose = None, **more: Loose) -> httpx.Response:
    return api.client.post(f"/v1/jobs/{job}/probes", json={} if body is None else body, **more)


def send(api: RunningApi, job: str, data: bytes, **headers: str) -> httpx.Response:
    return api.client.post(f"/v1/jobs/{job}/probes", content=data, headers=PNG | headers)


def test_rows_are_asked_about_and_answered(api: RunningApi, job: str) -> None:
    made = ask(api, job, {"rows": [3, 999], "k": 5})
    assert made.status_code == 202
    body, where = made.json(), made.headers["location"]
    assert where == f"/v1/jobs/{job}/probes/{body['id']}"
    assert (body["status"], body["queue_position"], body["rows"]) == ("queued", 1, [3, 999])
    lease = answered(api)
    spec = NeighbourSearchSpec.model_validate_json(lease.spec_json)
    assert (spec.rows, spec.k, spec.checkpoint, spec.image) == ((3, 999), 5, None, None)
    assert spec.encoder == f"jobs/{job}/attempts/1/artifacts"
    assert spec.features == f"jobs/{job}/probes/features"
    found = api.client.get(where).json()
    assert (found["status"], found["result"]) == ("succeeded", RESULT)
    for name, number in (("sheet_url", 1), ("tiles_url", 2)):
        shown = api.client.get(found[name])
        assert shown.headers["content-type"] == "image/png"
        assert shown.content == png(number)


def test_the_same_question_is_answered_by_the_earlier_probe(api: RunningApi, job: str) -> None:
    first = ask(api, job).json()["id"]
    assert ask(api, job).json()["id"] == first
    assert ask(api, job, {"k": 11}).json()["id"] != first
    folders = {path.name for path in (api.data_dir / "jobs" / job / "probes").iterdir()}
    assert folders == {record.id for record in each_probe(api.store)}
    api.store.jobs.cancel(first)
    assert ask(api, job).json()["id"] != first


def test_an_image_is_kept_whole_for_the_worker(api: RunningApi, job: str) -> None:
    made = api.client.post(
        f"/v1/jobs/{job}/probes", params={"k": 3}, content=png(5), headers=PNG
    ).json()
    assert (made["is_image"], made["k"], made["rows"]) == (True, 3, None)
    spec = NeighbourSearchSpec.model_validate_json(claim(api.store, "ingest").spec_json)
    assert spec.image == f"jobs/{job}/probes/{made['id']}/image"
    assert (api.data_dir / spec.image).read_bytes() == png(5)


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        ({"rows": [1000]}, 422, "invalid", "rows 0 to 999"),
        ({"rows": []}, 422, "invalid", "rows"),
        ({"rows": [1] * 17}, 422, "invalid", "rows"),
        ({"rows": ["1"]}, 422, "invalid", "#/rows/0"),
        ({"k": 51}, 422, "invalid", "#/k"),
        ({"k": 0}, 422, "invalid", "#/k"),
        ({"seed": 1}, 422, "invalid", "#/seed"),
        ({"checkpoint": 77}, 422, "invalid", "no checkpoint of step 77"),
    ],
)
def test_a_bad_question_is_refused(
    body: Loose, status: int, code: str, words: str, api: RunningApi, job: str
) -> None:
    refused = ask(api, job, body)
    told = refused.json()
    assert (refused.status_code, told["code"]) == (status, code)
    assert words in told["detail"]
    assert told["hint"]
    assert not list(each_probe(api.store))


@pytest.mark.parametrize(
    ("data", "headers", "code"),
    [
        (b"", {}, "invalid"),
        (b"GIF89a" + bytes(20), {}, "unsupported_media_type"),
        (b"<svg/>", {"Content-Type": "image/svg+xml"}, "unsupported_media_type"),
        (b"%PDF-1.7", {}, "unsupported_media_type"),
        (b"BM", {"Content-Type": "text/plain"}, "unsupported_media_type"),
        (b"BM12", {"Content-Encoding": "gzip"}, "unsupported_media_type"),
        (b"BM" + bytes(20_000_000), {}, "too_large"),
    ],
)
def test_bytes_that_are_no_image_are_refused_and_not_kept(
    data: bytes, headers: dict[str, str], code: str, api: RunningApi, job: str
) -> None:
    try:
        refused = send(api, job, data, **headers)
    except httpx.WriteError:  # told before the last byte was sent
        return
    assert refused.json()["code"] == code
    assert refused.json()["hint"]
    assert not list((api.data_dir / "jobs" / job).glob("probes/*"))
    assert not list(each_probe(api.store))


def test_without_an_encoder_there_is_nothing_to_ask(api: RunningApi) -> None:
    dataset = ready_dataset(api.store, "fresh")
    waiting = queued_job(api.store, dataset_id=dataset.id)
    refused = ask(api, waiting)
    assert (refused.status_code, refused.json()["code"]) == (409, "no_encoder")
    assert ask(api, "job_" + "0" * 26).status_code == 404
    assert ask(api, dataset.job_id).json()["code"] == "wrong_state"  # type: ignore[arg-type]


def test_a_checkpoint_is_chosen_by_its_step(api: RunningApi) -> None:
    dataset = ready_dataset(api.store, "running")
    lease = running_job(api.store, dataset_id=dataset.id)
    for step in (10, 20, 30):
        path = f"{lease.folder}/attempts/1/checkpoints/{step:09d}"
        if step > 10:
            (api.data_dir / path).mkdir(parents=True)
        api.store.queue.checkpoint(
            lease, step=step, path=path, manifest_sha256=f"{step:064d}", size_bytes=1
        )
    assert ask(api, lease.job_id).json()["checkpoint"] == 30
    assert ask(api, lease.job_id, {"checkpoint": 20}).json()["checkpoint"] == 20
    gone = ask(api, lease.job_id, {"checkpoint": 10})
    assert (gone.status_code, gone.json()["code"]) == (410, "artifact_missing")
    assert "available" in gone.json()["hint"]


def test_a_key_that_may_only_look_may_look(api: RunningApi, job: str) -> None:
    made = ask(api, job).json()["id"]
    answered(api)
    with client_of(api.url, READ_KEY) as reader:
        assert reader.post(f"/v1/jobs/{job}/probes", json={}).json()["code"] == "read_only"
        assert reader.get(f"/v1/jobs/{job}/probes/{made}").json()["result"] == RESULT
        assert reader.get(f"/v1/jobs/{job}/probes/{made}/sheet.png").content == png(1)
    with client_of(api.url, None) as stranger:
        assert stranger.get(f"/v1/jobs/{job}/probes/{made}").status_code == 401


def test_probes_are_no_trainings_and_belong_to_one_job(api: RunningApi, job: str) -> None:
    other = trained(api)
    made = ask(api, job).json()["id"]
    assert [one["id"] for one in api.client.get("/v1/jobs").json()["data"]] == [other, job]
    assert api.client.get(f"/v1/jobs/{made}").status_code == 404
    assert api.client.get(f"/v1/jobs/{other}/probes/{made}").status_code == 404
    assert api.client.get(f"/v1/jobs/{job}/probes/{job}").status_code == 404
    assert api.client.get(f"/v1/jobs/{job}/probes/{made}/tiles.png").json()["code"] == "wrong_state"
    assert api.client.get(f"/v1/jobs/{job}/probes/{made}/other.png").status_code == 422
    listed = api.client.get(f"/v1/jobs/{job}/probes").json()
    assert [one["id"] for one in listed["data"]] == [made]
    assert api.client.get(f"/v1/jobs/{other}/probes").json()["data"] == []
    assert api.store.counters.read().get("submitted") == 2


def test_a_lost_worker_costs_another_attempt(api: RunningApi, job: str) -> None:
    made = ask(api, job).json()["id"]
    assert claim(api.store, "ingest").attempt == 1
    ticks(api.store, api.store.queue.lease_ttl_ticks)
    assert api.store.jobs.get(made).code == "worker_lost"
    assert answered(api).attempt == 2
    assert api.client.get(f"/v1/jobs/{job}/probes/{made}").json()["result"] == RESULT


def test_so_many_may_wait_and_no_more(api: RunningApi, job: str) -> None:
    for row in range(WAITING_MAX):
        assert ask(api, job, {"rows": [row]}).status_code == 202
    refused = ask(api, job, {"rows": [500]})
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_probes")


def test_with_the_job_its_probes_go(api: RunningApi, job: str) -> None:
    other = trained(api)
    ask(api, job)
    kept = ask(api, other).json()["id"]
    assert api.client.delete(f"/v1/jobs/{job}").status_code == 204
    assert [record.id for record in each_probe(api.store)] == [kept]
    assert not (api.data_dir / "jobs" / job).exists()


def test_after_a_day_probes_and_features_go(api: RunningApi, job: str) -> None:
    young = ask(api, job).json()["id"]
    folder = api.data_dir / "jobs" / job / "probes"
    lost = folder / ("probe_" + "0" * 26)
    features = folder / "features" / "old.safetensors"
    fresh = folder / "features" / "new.safetensors"
    lost.mkdir()
    features.parent.mkdir()
    features.touch()
    fresh.touch()
    for path in (lost, features):
        os.utime(path, (0, 0))
    assert forget_old(api.store, api.data_dir) == 2
    assert not lost.exists()
    assert not features.exists()
    assert fresh.exists()
    assert [record.id for record in each_probe(api.store)] == [young]
    assert forget_old(api.store, api.data_dir, older_s=-1.0) == 2
    assert list(each_probe(api.store)) == []
    assert not (folder / young).exists()


def test_a_probe_needs_no_ledger(api: RunningApi, job: str) -> None:
    """Neither the check of disk against store nor making the store anew asks for one."""
    made = ask(api, job).json()["id"]
    found = [one for one in audit(api.store, api.data_dir).findings if made in str(one)]
    assert found == []


def test_a_picture_that_is_gone_is_said_to_be(api: RunningApi, job: str) -> None:
    made = ask(api, job).json()["id"]
    lease = answered(api)
    for file in (api.data_dir / lease.folder).glob("attempts/1/answer/*"):
        file.unlink()
    for end in ("", "/sheet.png"):
        told = api.client.get(f"/v1/jobs/{job}/probes/{made}{end}")
        assert (told.status_code, told.json()["code"]) == (410, "artifact_missing")
