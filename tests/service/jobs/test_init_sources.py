"""Weights that a job begins with: pinned at submit, and kept in the job's own folder."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from service.ids import new_id
from service.store.records import Lease
from tests.support.service.api import (
    RunningApi,
    claim,
    finished_job,
    queued_job,
    ready_dataset,
    running_job,
)
from trainer.spec.init_from import INIT
from trainer.spec.job import JobSpec
from worker.attempt.workspace import workspace_of
from worker.slots import SlotPool

ENCODER = {"conv1.weight": torch.ones(2, 3), "bn1.num_batches_tracked": torch.tensor(3)}
PUBLISHED = safetensors.torch.save(ENCODER, metadata={"format": "pt"})
SHA256 = hashlib.sha256(PUBLISHED).hexdigest()


@pytest.fixture(scope="module")
def dataset(api: RunningApi) -> str:
    return ready_dataset(api.store, "init-train").name


@pytest.fixture(scope="module")
def donor(api: RunningApi) -> str:
    return finished_job(api, {"encoder.safetensors": PUBLISHED})


def with_checkpoint(api: RunningApi, step: int, **changes: Any) -> Lease:  # noqa: ANN401
    """Return a running job with a checkpoint of MoCo that holds ENCODER."""
    lease = running_job(api.store, **changes)
    path = f"{lease.folder}/attempts/1/checkpoints/{step:09d}"
    state = {f"method.query.encoder.{name}": value for name, value in ENCODER.items()}
    state |= {f"method.key.encoder.{name}": value + 1 for name, value in ENCODER.items()}
    state["optimizer.momentum_buffer.query.encoder.conv1.weight"] = torch.zeros(2, 3)
    (api.data_dir / path).mkdir(parents=True)
    safetensors.torch.save_file(state, api.data_dir / path / "state.safetensors")
    api.store.queue.checkpoint(lease, step=step, path=path, manifest_sha256=SHA256, size_bytes=9)
    return lease


def submitted(api: RunningApi, dataset: str, **words: Any) -> dict[str, Any]:  # noqa: ANN401
    answer = api.client.post("/v1/jobs", json={"dataset": dataset, **words})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def init_of(api: RunningApi, job_id: str) -> bytes:
    return (api.data_dir / "jobs" / job_id / INIT).read_bytes()


def test_the_encoder_of_a_job_is_pinned_and_outlives_it(api: RunningApi, dataset: str) -> None:
    donor = finished_job(api, {"encoder.safetensors": PUBLISHED})
    job = submitted(api, dataset, init_from={"job": donor}, pool="init-life")
    assert job["spec"]["init_from"] == {"job": donor}
    assert job["resolved"]["init_from"]["sha256"] == SHA256
    assert job["resolved"]["method"]["negatives_start"] == "empty"
    assert api.client.delete(f"/v1/jobs/{donor}").status_code == 204
    assert init_of(api, job["id"]) == PUBLISHED
    workspace = workspace_of(claim(api.store, "init-life"), api.data_dir)
    workspace.prepare()
    allocation = SlotPool(("cpu",)).take(1)
    request = workspace.child_request(allocation, threads=1)
    assert Path(request.init).read_bytes() == PUBLISHED


SMALL = JobSpec.model_validate({"dataset": "x", "epochs": 3, "encoder": {"name": "small"}})


def test_the_encoder_is_the_donors_unless_another_is_named(
    api: RunningApi, dataset: str, donor: str
) -> None:
    lease = with_checkpoint(api, 4, resolved_json=SMALL.model_dump_json())
    words = {"init_from": {"job": lease.job_id, "checkpoint": "latest"}}
    job = submitted(api, dataset, **words)
    assert job["resolved"]["encoder"]["name"] == "small"
    assert job["reasons"]["encoder.name"] == f"the encoder of {lease.job_id}"
    answer = api.client.post("/v1/jobs", json={"dataset": dataset, "encoder": {}, **words})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#/encoder/name")


def test_the_encoder_of_a_checkpoint_is_the_published_file(api: RunningApi, dataset: str) -> None:
    lease = with_checkpoint(api, 12)
    for checkpoint in (12, "latest"):
        words = {"job": lease.job_id, "checkpoint": checkpoint, "sha256": SHA256}
        job = submitted(api, dataset, init_from=words)
        assert job["resolved"]["init_from"] == words | {"checkpoint": 12, "weights": None}
        assert init_of(api, job["id"]) == PUBLISHED


def test_a_worker_makes_the_copy_after_a_crash_of_the_api(
    api: RunningApi, dataset: str, donor: str
) -> None:
    job = submitted(api, dataset, init_from={"job": donor}, pool="init-crash")
    (api.data_dir / "jobs" / job["id"] / INIT).unlink()
    workspace_of(claim(api.store, "init-crash"), api.data_dir).prepare()
    assert init_of(api, job["id"]) == PUBLISHED


def refusals(api: RunningApi, donor: str) -> dict[str, tuple[dict[str, Any], str]]:
    ran = with_checkpoint(api, 7).job_id
    return {
        "neither": ({}, "#/init_from"),
        "both": ({"job": donor, "weights": "w"}, "#/init_from"),
        "checkpoint of weights": ({"weights": "w", "checkpoint": 1}, "#/init_from"),
        "no such job": ({"job": new_id("job")}, "#/init_from/job"),
        "no id": ({"job": "../x"}, "#/init_from/job"),
        "nothing published": ({"job": queued_job(api.store)}, "#/init_from/job"),
        "no such step": ({"job": ran, "checkpoint": 8}, "#/init_from/checkpoint"),
        "no checkpoint": ({"job": donor, "checkpoint": "latest"}, "#/init_from/checkpoint"),
        "other bytes": ({"job": donor, "sha256": "0" * 64}, "#/init_from/sha256"),
        "no such weights": ({"weights": "w"}, "#/init_from/weights"),
    }


def test_what_there_is_not_is_refused_at_its_field(
    api: RunningApi, dataset: str, donor: str
) -> None:
    for case, (words, pointer) in refusals(api, donor).items():
        answer = api.client.post("/v1/jobs", json={"dataset": dataset, "init_from": words})
        assert answer.status_code == 422, case
        assert answer.json()["errors"][0]["pointer"] == pointer, case


def test_a_checkpoint_that_is_gone_or_damaged_is_told(
    api: RunningApi, dataset: str, tmp_path: Path
) -> None:
    lease = with_checkpoint(api, 3)
    state = api.data_dir / lease.folder / "attempts/1/checkpoints/000000003/state.safetensors"
    body = {"dataset": dataset, "init_from": {"job": lease.job_id, "checkpoint": 3}}
    state.write_bytes(state.read_bytes()[:-1])
    answer = api.client.post("/v1/jobs", json=body)
    assert answer.json()["code"] == "storage"
    state.unlink()
    assert api.client.post("/v1/jobs", json=body).status_code == 422
