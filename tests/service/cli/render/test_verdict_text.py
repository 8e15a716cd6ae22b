"""The verdict on a run, wherever the command line tells of one."""

import json
from typing import Any

import pytest

from service.api.schemas.examples import VERDICT
from tests.support.client.moco_command import Moco, answer
from tests.support.service.api import RunningApi, claim, queued_job
from trainer.schema.verdicts import of_code

SIGNALS = {
    "knn_top1": 0.55,
    "knn_top1_raw": 0.6,
    "knn_top1_untrained": 0.5,
    "knn_top1_majority": 0.1,
}
ROW = of_code("no_better_than_raw")
BELOW: dict[str, Any] = {
    **{"type": "judged", "step": 20, "code": ROW.code, "kind": ROW.kind, "word": ROW.word},
    "evidence": "kNN top-1 55.0% (raw input 60.0%).",
    "advice": ROW.advice,
}


def ended(api: RunningApi, verdict: dict[str, Any], *, code: str = "") -> str:
    """A job whose run told a verdict twice and ended, or failed with a code."""
    store, job = api.store, queued_job(api.store)
    lease = claim(store, store.jobs.get(job).pool)
    evaluated = {"type": "evaluated", "step": 20, "epoch": 5.0, "signals": SIGNALS}
    events = [{**VERDICT, "step": 10}, evaluated, verdict, {**verdict, "step": 30}]
    progress = {"step": 30, "steps": 30, "epoch": 7.5, "signals": SIGNALS, "verdict": verdict}
    store.queue.append(lease, [json.dumps(event) for event in events], progress)
    if code:
        message = "The loss is nan at step 30."
        store.queue.fail(lease, code=code, message=message, hint=verdict["advice"], retry=False)
    else:
        store.queue.complete(lease, artifacts=(), artifacts_folder="none")
    return job


def test_watch_tells_a_verdict_when_it_changes_and_at_the_end(moco: Moco, api: RunningApi) -> None:
    job = ended(api, BELOW)
    result = moco("watch", job)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    told, advice = f"{ROW.word}: {BELOW['evidence']}", f"  next: {ROW.advice}"
    assert lines.count(f"Healthy: {VERDICT['evidence']}") == 1
    assert lines.count(told) == 2  # when it came, and at the end
    assert lines[-3:-1] == [told, advice]
    assert "kNN 55.0% (raw 60.0%, untrained 50.0%)" in result.stdout


def test_show_and_jobs_tell_the_verdict_beside_the_figure(moco: Moco, api: RunningApi) -> None:
    job = ended(api, BELOW)
    shown = " ".join(moco("show", job).stdout.split())
    assert f"verdict {ROW.word}: {BELOW['evidence']}" in shown
    assert f"advice {' '.join(ROW.advice.split())}" in shown
    assert "knn_top1_raw 0.6" in shown
    listed = moco("jobs").stdout
    assert ROW.word in listed
    assert "55.0% (60.0%)" in listed
    assert answer(moco("show", job, "--json"))["progress"]["verdict"]["code"] == ROW.code


@pytest.mark.parametrize("command", ["watch", "wait"])
def test_the_exit_text_names_the_verdict_of_a_run_that_diverged(
    command: str, moco: Moco, api: RunningApi
) -> None:
    row = of_code("diverged")
    diverged = {**BELOW, "code": row.code, "kind": row.kind, "word": row.word}
    diverged |= {"evidence": "The loss is nan at step 30.", "advice": row.advice}
    job = ended(api, diverged, code="nonfinite_loss")
    result = moco(command, job)
    assert result.exit_code == 100
    assert "  The loss is nan at step 30. Verdict: Diverged.\n" in result.stderr
    assert row.advice in result.stderr


def test_jobs_without_a_verdict_are_listed_all_the_same(moco: Moco, api: RunningApi) -> None:
    job = queued_job(api.store)
    assert job in moco("jobs").stdout
    assert "verdict" not in moco("show", job).stdout
