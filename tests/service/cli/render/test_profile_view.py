"""A profile as people read it: while a job runs, at its end, and afterwards."""

import json
import re
from typing import Any

import pytest

from mocoserve.models import Event, Job, Profile
from service.api.schemas.examples import PROFILE
from service.cli.render.job_tracker import JobTracker
from service.cli.render.profile_view import table, time_text
from tests.support.client.moco_command import Moco, answer
from tests.support.service.api import RunningApi, claim, queued_job, ready_dataset

EVALUATED: dict[str, Any] = {
    **PROFILE,
    "bottleneck": "evaluation",
    "sentence": "Evaluation takes 33 % of the time.",
    "phases": [*PROFILE["phases"], {"name": "evaluation", "mean_s": 1.25, "share": 0.33}],
}


def test_submit_asks_for_one_and_leaves_it_out_otherwise(moco: Moco, api: RunningApi) -> None:
    ready_dataset(api.store, "profiled")
    job = moco("submit", "-d", "profiled", "--profile").stdout.strip()
    assert answer(moco("show", job, "--json"))["spec"] == {"dataset": "profiled", "profile": True}
    other = moco("submit", "-d", "profiled").stdout.strip()
    assert answer(moco("show", other, "--json"))["spec"] == {"dataset": "profiled"}


def test_watch_tells_the_sentence_when_it_changes_and_the_table_once(
    moco: Moco, api: RunningApi
) -> None:
    store, job = api.store, queued_job(api.store)
    lease = claim(store, store.jobs.get(job).pool)
    events = [PROFILE, {**PROFILE, "step": 1300}, EVALUATED]
    store.queue.append(lease, [json.dumps(event) for event in events], {"profile": EVALUATED})
    store.queue.complete(lease, artifacts=(), artifacts_folder="none")
    told = moco("watch", job)
    assert told.exit_code == 0, told.output
    lines = told.stdout.splitlines()
    assert lines.count(PROFILE["sentence"]) == 1
    assert lines.count(EVALUATED["sentence"]) == 2  # when it came, and below the table
    start = lines.index("time per phase over 1,195 steps:")
    assert lines[start:-1] == table(Profile.model_validate(EVALUATED))
    assert lines[-1].startswith(f"{job} succeeded after ")
    assert moco("show", job).stdout.splitlines()[-len(lines[start:-1]) :] == lines[start:-1]


def test_without_a_profile_nothing_is_said_of_it(moco: Moco, api: RunningApi) -> None:
    job = queued_job(api.store)
    lease = claim(api.store, api.store.jobs.get(job).pool)
    api.store.queue.complete(lease, artifacts=(), artifacts_folder="none")
    assert "time per phase" not in moco("watch", job).stdout + moco("show", job).stdout


def test_the_table_has_each_phase_with_its_time_and_share() -> None:
    first, views, backward, step, evaluation, sentence = table(Profile.model_validate(EVALUATED))
    assert first == "time per phase over 1,195 steps:"
    assert re.split(r"\s{2,}", views.strip()) == ["views", "30.6 ms", "61.0 %"]
    assert re.split(r"\s{2,}", backward.strip()) == ["backward", "19.6 ms", "39.0 %"]
    assert re.split(r"\s{2,}", step.strip()) == ["step", "50.2 ms", "100.0 %", "5,100 images/s"]
    assert re.sub(r"\s+", " ", evaluation) == " evaluation 1.25 s 33.0 % of the run, per call"
    assert sentence == EVALUATED["sentence"]
    assert len({line.index("%") for line in (views, backward, step, evaluation)}) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 ms"),
        (0.00041, "0.41 ms"),
        (0.0182, "18.2 ms"),
        (0.412, "412 ms"),
        (2.5, "2.50 s"),
    ],
)
def test_times_have_three_digits(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def test_a_tracker_notes_only_a_new_bottleneck() -> None:
    tracker = JobTracker(Job(id="job_x", status="running"))
    found = [
        tracker.feed(Event(id=f"{n}-0", event=event), now_s=0.0)
        for n, event in enumerate((PROFILE, PROFILE, EVALUATED, PROFILE))
    ]
    assert found == [True, False, True, True]
