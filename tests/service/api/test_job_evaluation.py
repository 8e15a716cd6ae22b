"""GET /v1/jobs/{id}/evaluation: from the file of the newest attempt, with what it means."""

import json
from typing import Any

import pytest

from service.api.schemas import examples
from tests.support.service.api import RunningApi, finished_job, queued_job, running_job

REPORT: dict[str, Any] = {
    "evaluators": [
        {
            "name": "linear",
            "result": {
                "step": 40,
                "epoch": 4.0,
                "figures": [{"name": "linear_top1", "value": 0.5, "n": 8, "low": 0.2, "high": 0.8}],
                "tables": {"roc": [{"false_positive_rate": 0.0, "true_positive_rate": 0.25}]},
                "of_a_newer_version": 1,
            },
        }
    ],
    "not_measured": ["Nothing to cluster."],
}


def write(api: RunningApi, job: str, content: str, *, attempt: int = 1) -> None:
    folder = api.data_dir / api.store.jobs.get(job).folder / "attempts" / str(attempt)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(content)


def test_the_newest_results_come_with_their_meaning(api: RunningApi) -> None:
    job = running_job(api.store).job_id
    write(api, job, "{}")
    write(api, job, json.dumps(REPORT), attempt=2)
    body = api.client.get(f"/v1/jobs/{job}/evaluation").json()
    (linear,) = body["evaluators"]
    (figure,) = linear["result"]["figures"]
    assert (figure["value"], figure["features"], figure["interval"]) == (
        *(0.5, "trained encoder"),
        None,
    )
    assert linear["result"]["of_a_newer_version"] == 1
    assert linear["baselines"] is None
    assert body["not_measured"] == ["Nothing to cluster."]
    assert body["figures"]["linear_top1"]["unit"] == "ratio"
    roc = body["tables"]["linear"]["roc"]
    assert (roc["x"], roc["y"]) == ("false_positive_rate", "true_positive_rate")
    assert api.client.get(f"/v1/jobs/{job}").json()["id"] == job


def test_without_results_it_says_why(api: RunningApi) -> None:
    waiting = queued_job(api.store)
    over = finished_job(api, {"README.md": b"a card"}, step=1200)
    for job, words in ((waiting, "queued and has evaluated nothing yet"), (over, "is succeeded")):
        problem = api.client.get(f"/v1/jobs/{job}/evaluation")
        assert (problem.status_code, problem.json()["code"]) == (409, "no_evaluation")
        assert words in problem.json()["detail"]
    assert api.client.get(f"/v1/jobs/{examples.JOB_ID}/evaluation").status_code == 404


@pytest.mark.parametrize("content", ["{", json.dumps({"evaluators": 3}), '{"evaluators": [{}]}'])
def test_a_damaged_file_is_told(content: str, api: RunningApi) -> None:
    job = running_job(api.store).job_id
    write(api, job, content)
    problem = api.client.get(f"/v1/jobs/{job}/evaluation")
    assert (problem.status_code, problem.json()["code"]) == (410, "artifact_missing")
