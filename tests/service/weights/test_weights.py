"""Uploaded weights: made, sent in parts, begun with, kept while needed, audited, and swept."""

import hashlib
import math
import os
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from mocoserve import Client
from mocoserve.errors import Invalid, Unusable
from service.ledger.audit import audit
from service.ledger.journaled_store import JournaledStore
from service.maintenance.retention import RetentionContext, removable
from service.weights.weights_content import known_encoder
from service.weights.weights_store import WeightsStore
from tests.support.service.api import KEY, RunningApi, ready_dataset
from trainer.modalities.image.encoders.parameter_shapes import parameter_shapes
from trainer.modalities.image.encoders.spec import EncoderSpec
from trainer.spec.init_from import INIT

SMALL = EncoderSpec(name="small", channels=3)
CONTENT = safetensors.torch.save(
    {name: torch.ones(shape) for name, shape in parameter_shapes(SMALL, side_px=32).items()}
)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def made(api: RunningApi, name: str, **words: Any) -> dict[str, Any]:  # noqa: ANN401
    answer = api.client.post("/v1/weights", json={"name": name, **words})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def path_of(weights: dict[str, Any]) -> str:
    return f"/v1/weights/{weights['id']}"


def ready(api: RunningApi, name: str) -> dict[str, Any]:
    weights = made(api, name)
    answer = api.client.put(f"{path_of(weights)}/content", content=CONTENT)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_sent_in_parts_and_listed(api: RunningApi) -> None:
    weights = made(api, "parts", size_bytes=len(CONTENT), sha256=SHA256)
    content = f"{path_of(weights)}/content"
    assert api.client.put(content, content=CONTENT[:3000]).status_code == 202
    assert api.client.head(content).headers["upload-offset"] == "3000"
    assert api.client.get(path_of(weights)).json()["received_bytes"] == 3000
    rest = api.client.put(content, content=CONTENT[3000:], headers={"Upload-Offset": "3000"})
    told = rest.json()
    numbers = sum(map(math.prod, parameter_shapes(SMALL, side_px=32).values()))
    assert (told["status"], told["tensors"], told["parameters"]) == ("ready", 30, numbers)
    assert (told["sha256"], told["size_bytes"]) == (SHA256, len(CONTENT))
    assert api.client.get("/v1/weights").json()["data"][0] == told
    assert api.client.get("/v1/weights/parts").json() == told
    again = api.client.put(content, content=CONTENT)
    assert (again.status_code, again.json()["code"]) == (409, "wrong_state")


def test_a_file_that_is_gone_hides_no_other_weights(api: RunningApi) -> None:
    kept, gone = ready(api, "kept"), ready(api, "gone")
    (api.data_dir / "weights" / gone["id"] / "weights.safetensors").unlink()
    known_encoder.cache_clear()  # as after a restart
    weights = {each["name"]: each for each in api.client.get("/v1/weights").json()["data"]}
    assert weights["kept"] == kept
    assert weights["gone"]["encoder"] is None
    assert api.client.delete(path_of(gone)).status_code == 204


def test_a_name_is_one_and_a_key_makes_one(api: RunningApi) -> None:
    key = {"Idempotency-Key": "weights-1"}
    first = api.client.post("/v1/weights", json={"name": "once"}, headers=key)
    again = api.client.post("/v1/weights", json={"name": "once"}, headers=key)
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    other = api.client.post("/v1/weights", json={"name": "twice"}, headers=key)
    assert other.json()["code"] == "idempotency_conflict"
    assert api.client.post("/v1/weights", json={"name": "once"}).json()["code"] == "name_taken"
    for name in ("wgt_x", "job_x", "", "a/b"):
        assert api.client.post("/v1/weights", json={"name": name}).status_code == 422


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02}q\x00.",
        CONTENT[:-1],
        safetensors.torch.save({"a": torch.zeros(2).double()}),
        safetensors.torch.save({}),
    ],
    ids=["pickle", "cut short", "float64", "no tensors"],
)
def test_what_holds_no_weights_is_refused_and_dropped(api: RunningApi, content: bytes) -> None:
    weights = made(api, f"bad-{len(content)}")
    answer = api.client.put(f"{path_of(weights)}/content", content=content)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert "no safetensors file of weights" in answer.json()["detail"]
    now = api.client.get(path_of(weights)).json()
    assert (now["status"], now["received_bytes"]) == ("failed", 0)
    assert now["status_reason"]["message"] == answer.json()["detail"].removeprefix("body: ")
    job = {"dataset": "x", "init_from": {"weights": weights["id"]}}
    refused = api.client.post("/v1/jobs", json=job).json()["errors"][0]
    assert refused["pointer"] == "#/init_from/weights"
    assert "no safetensors file of weights" in refused["detail"]
    assert api.client.put(f"{path_of(weights)}/content", content=CONTENT).status_code == 200


def test_failed_weights_lose_their_name_and_are_swept(api: RunningApi) -> None:
    """After a week, as failed datasets are."""
    weights = [made(api, name) for name in ("fails", "fails-too")]
    for each in weights:
        answer = api.client.put(f"{path_of(each)}/content", content=CONTENT[:-1])
        assert answer.status_code == 422
    assert ready(api, "fails")["id"] != weights[0]["id"]
    assert api.client.get(path_of(weights[0])).status_code == 404
    journal = JournaledStore(api.store, api.data_dir)
    items = removable(RetentionContext(journal, api.settings, time.time()))
    (item,) = (it for it in items if it.id == weights[1]["id"])
    assert item.kept_s == api.settings.dataset_unusable_kept_s
    item.remove()
    assert api.client.get(path_of(weights[1])).status_code == 404


def test_a_job_begins_with_them_and_keeps_them(api: RunningApi) -> None:
    weights = ready(api, "begin")
    dataset = ready_dataset(api.store, "weights-train").name
    body = {"dataset": dataset, "encoder": {"name": "small"}, "init_from": {"weights": "begin"}}
    job = api.client.post("/v1/jobs", json=body).json()
    assert job["resolved"]["init_from"]["sha256"] == SHA256
    refused = api.client.delete(path_of(weights))
    assert (refused.status_code, refused.json()["code"]) == (409, "weights_in_use")
    assert refused.json()["jobs"] == [job["id"]]
    assert api.client.post(f"/v1/jobs/{job['id']}/cancel").status_code == 200
    assert api.client.delete(path_of(weights)).status_code == 204
    assert api.client.get(path_of(weights)).status_code == 404
    assert (api.data_dir / "jobs" / job["id"] / INIT).read_bytes() == CONTENT
    incomplete = made(api, "incomplete")
    body["init_from"] = {"weights": incomplete["id"]}
    assert api.client.post("/v1/jobs", json=body).json()["errors"][0]["pointer"] == (
        "#/init_from/weights"
    )


def test_weights_that_do_not_fit_are_refused_when_a_job_is_submitted(api: RunningApi) -> None:
    """With the encoder that they fit; also by a dry run."""
    ready(api, "unfit")
    dataset = ready_dataset(api.store, "unfit-train").name
    body = {"dataset": dataset, "encoder": {"name": "resnet18"}, "init_from": {"weights": "unfit"}}
    for query in ("", "?dry_run=true"):
        answer = api.client.post(f"/v1/jobs{query}", json=body)
        error, other = answer.json()["errors"]
        assert (answer.status_code, error["pointer"]) == (422, "#/init_from")
        assert other["pointer"] == "#/encoder/name"
        assert error["detail"] == (
            "the weights fit small, but the encoder is resnet18; set encoder.name to small"
        )


def test_a_job_takes_the_encoder_that_weights_fit(api: RunningApi) -> None:
    """Told with the weights, by the client too, and as the reason of the job's encoder."""
    weights = ready(api, "fitting")
    encoder = {"name": "small", "channels": 3, "stem": None, "patch_px": None, "side_px": None}
    assert weights["encoder"] == encoder
    assert made(api, "empty-yet")["encoder"] is None
    with Client(api.url, KEY) as client:
        told = client.weights.get("fitting").encoder
        assert told is not None
        assert told.name == "small"
    body = {
        "dataset": ready_dataset(api.store, "fitting-train").name,
        "init_from": {"weights": "fitting"},
    }
    plan = api.client.post("/v1/jobs?dry_run=true", json=body).json()
    assert plan["resolved"]["encoder"]["name"] == "small"
    assert plan["reasons"]["encoder.name"] == "the encoder that fits fitting"


def test_the_client_sends_once(api: RunningApi, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(CONTENT)
    with Client(api.url, KEY) as client:
        weights = client.weights.add(path, name="client")
        assert (weights.status, weights.sha256) == ("ready", SHA256)
        assert client.weights.add(path, name="client") == weights
        path.write_bytes(CONTENT[:-1])
        with pytest.raises(Unusable, match="taken"):
            client.weights.add(path, name="client")
        with pytest.raises(Invalid):
            client.weights.add(path, name="broken")
        client.weights.delete("client")
        assert client.weights.find("client") is None


def test_damage_is_found_and_a_broken_off_upload_is_swept(api: RunningApi) -> None:
    good, bad, lost = (ready(api, name) for name in ("audit-good", "audit-bad", "audit-lost"))
    folder = api.data_dir / "weights"
    content = folder / bad["id"] / "weights.safetensors"
    content.write_bytes(CONTENT[:-1] + b"\1")
    (folder / lost["id"] / "weights.json").write_bytes(b"{")
    found = {
        finding.where: finding.detail
        for finding in audit(api.store, api.data_dir).findings
        if finding.what == "bad_weights"
    }
    assert found == {
        f"weights/{bad['id']}/weights.safetensors": "Its bytes were changed.",
        f"weights/{lost['id']}": "weights.json cannot be read.",
    }
    part = made(api, "part", size_bytes=len(CONTENT))
    api.client.put(f"{path_of(part)}/content", content=CONTENT[:10])
    staged = folder / part["id"] / "upload.part"
    os.utime(staged, (1, 1))
    journal = JournaledStore(api.store, api.data_dir)
    items = {it.id: it for it in removable(RetentionContext(journal, api.settings, time.time()))}
    assert good["id"] not in items
    old = items[part["id"]]
    assert old.kept_s is not None
    assert old.age_s > old.kept_s
    old.remove()
    assert api.client.get(path_of(part)).status_code == 404


def test_they_outlive_redis(api: RunningApi) -> None:
    """The folder is the record: another server of the same data folder has them."""
    weights = ready(api, "outlive")
    weights_store = WeightsStore(api.data_dir)
    assert weights_store.get("outlive").sha256 == SHA256
    assert weights_store.get(weights["id"]).name == "outlive"
