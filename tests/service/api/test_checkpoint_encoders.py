"""The encoder of a job that has published none: out of its checkpoint, in any state."""

import hashlib
import json

import pytest
import safetensors.torch
import torch

from service.store.records import Lease
from tests.support.service.api import RunningApi, running_job

ENCODER = {"conv1.weight": torch.arange(6.0).reshape(2, 3), "bn1.bias": torch.ones(2)}
PUBLISHED = safetensors.torch.save(ENCODER, metadata={"format": "pt"})
CONFIG = b'{"num_features": 2}\n'


@pytest.fixture
def lease(api: RunningApi) -> Lease:
    """Return a running job with checkpoints of the steps 10 and 20; that of 10 is gone."""
    lease = running_job(api.store)
    attempt = api.data_dir / lease.folder / "attempts/1"
    (attempt / "network").mkdir(parents=True)
    (attempt / "network/config.json").write_bytes(CONFIG)
    (attempt / "network/preprocess.json").write_bytes(b"{}\n")
    (attempt / "checkpoints/000000020").mkdir(parents=True)
    state = {f"method.tower.encoder.{name}": value for name, value in ENCODER.items()}
    state["method.tower.head.weight"] = torch.zeros(3)
    safetensors.torch.save_file(state, attempt / "checkpoints/000000020/state.safetensors")
    for step in (10, 20):
        api.store.queue.checkpoint(
            lease,
            step=step,
            path=f"{lease.folder}/attempts/1/checkpoints/{step:09d}",
            manifest_sha256="0" * 64,
            size_bytes=9,
        )
    return lease


def path_of(lease: Lease, step: object, name: str = "") -> str:
    return f"/v1/jobs/{lease.job_id}/checkpoints/{step}/artifacts{name}"


def test_the_files_are_listed_and_sent(api: RunningApi, lease: Lease) -> None:
    listed = api.client.get(path_of(lease, "latest")).json()["data"]
    assert {file["name"] for file in listed} == {
        "config.json",
        "preprocess.json",
        "encoder.safetensors",
    }
    for file in listed:
        assert file["url"] == path_of(lease, 20, f"/{file['name']}")
        answer = api.client.get(file["url"])
        assert answer.status_code == 200
        assert len(answer.content) == file["size_bytes"] == int(answer.headers["content-length"])
        assert hashlib.sha256(answer.content).hexdigest() == file["sha256"]
        assert answer.headers["etag"] == f'"sha256-{file["sha256"]}"'
    weights = api.client.get(path_of(lease, 20, "/encoder.safetensors")).content
    assert weights == PUBLISHED
    assert json.loads(api.client.get(path_of(lease, 20, "/config.json")).content) == {
        "num_features": 2
    }


@pytest.mark.parametrize(
    ("step", "name", "code"),
    [
        (10, "", "artifact_missing"),
        (11, "", "not_found"),
        ("newest", "", "not_found"),
        ("..%2F..", "", "not_found"),
        (20, "/state.safetensors", "not_found"),
        (20, "/README.md", "not_found"),
    ],
)
def test_what_there_is_not_is_refused(
    step: object, name: str, code: str, api: RunningApi, lease: Lease
) -> None:
    answer = api.client.get(path_of(lease, step, name))
    assert answer.is_error
    assert answer.json()["code"] == code


def test_an_older_attempt_and_a_damaged_checkpoint_are_told(api: RunningApi, lease: Lease) -> None:
    attempt = api.data_dir / lease.folder / "attempts/1"
    (attempt / "network/config.json").unlink()
    answer = api.client.get(path_of(lease, 20))
    assert answer.json()["code"] == "artifact_missing"
    assert "older versions" in answer.json()["detail"]
    state = attempt / "checkpoints/000000020/state.safetensors"
    state.write_bytes(state.read_bytes()[:-1])
    answer = api.client.get(path_of(lease, 20, "/encoder.safetensors"))
    assert answer.json()["code"] == "storage"


def test_the_best_checkpoint_is_marked_and_sent(api: RunningApi, lease: Lease) -> None:
    best = {"signal": "knn_top1", "value": 0.5, "step": 20, "epoch": 2.0}
    assert api.client.get(path_of(lease, "best")).json()["code"] == "not_found"
    line = json.dumps({"type": "logged", "message": "x"})
    api.store.queue.append(lease, [line], {"step": 30, "best": best})
    assert api.client.get(f"/v1/jobs/{lease.job_id}").json()["progress"]["best"] == best
    rows = api.client.get(f"/v1/jobs/{lease.job_id}/checkpoints").json()["data"]
    assert {row["step"]: row["is_best"] for row in rows} == {10: False, 20: True}
    first = api.client.get(path_of(lease, "best")).json()["data"][0]
    assert first["url"].startswith(path_of(lease, 20))
