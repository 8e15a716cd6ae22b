"""The commands of jobs against a real API. A worker is played by calls to the store."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.client.moco_command import Moco, answer
from tests.support.service.api import (
    RunningApi,
    claim,
    finished_job,
    queued_job,
    ready_dataset,
    running_job,
)
from tests.support.service.redis import worker

# submit


def test_submit(moco: Moco, api: RunningApi, tmp_path: Path) -> None:
    ready_dataset(api.store, "known")
    (tmp_path / "s.json").write_text('{"epochs": 7, "seed": 3}')
    result = moco(
        *("submit", "-d", "known", "-f", str(tmp_path / "s.json"), "--encoder", "small"),
        *(
            "--method",
            "simclr",
            "--epochs",
            "2",
            "--set",
            "views.flip_p=0",
            "--idempotency-key",
            "k",
            "--name",
            "n",
        ),
    )
    assert result.exit_code == 0, result.output
    job = result.stdout.strip()
    assert f"next: moco watch {job}" in result.stderr
    spec = answer(moco("show", job, "--json"))["spec"]
    assert spec == {
        "dataset": "known",
        "epochs": 2,
        "seed": 3,
        "encoder": {"name": "small"},
        "method": {"name": "simclr"},
        "views": {"flip_p": 0},
        "name": "n",
    }
    shown = moco("show", job).stdout
    assert job in shown
    assert "queued" in shown
    assert answer(moco("submit", "-d", "known", "--json"))["status"] == "queued"
    assert moco("submit", "-d", "known", "--idempotency-key", "k").exit_code == 1


def test_dry_run_explains_and_starts_nothing(moco: Moco, api: RunningApi) -> None:
    ready_dataset(api.store, "dry")
    before = len(answer(moco("jobs", "--json"))["data"])
    result = moco("submit", "-d", "dry", "--epochs", "3", "--dry-run")
    assert "batch_rows" in result.stdout
    assert "set by you" in result.stdout
    assert "nothing was started" in result.stderr
    preview = answer(moco("submit", "-d", "dry", "--dry-run", "--json"))
    assert preview["resolved"]["batch_rows"] > 0
    assert preview["reasons"]["batch_rows"]
    assert len(answer(moco("jobs", "--json"))["data"]) == before


def test_a_job_of_several_gpus_says_so_everywhere(moco: Moco, api: RunningApi) -> None:
    ready_dataset(api.store, "shared")
    arguments = ("submit", "-d", "shared", "--gpus", "4", "--nodes", "2", "--batch-rows", "64")
    dry = moco(*arguments, "--dry-run")
    assert "4 GPUs, 16 rows each" in dry.stderr
    assert "no overlap" in dry.stderr
    assert "GPUs" not in moco("submit", "-d", "shared", "--dry-run").stderr
    scaling = answer(moco(*arguments, "--dry-run", "--json"))["scaling"]
    assert (scaling["gpus"], scaling["rows_per_gpu"]) == (4, 16)
    assert 1 <= scaling["gpus_limit"] <= 32
    job = moco(*arguments).stdout.strip()
    assert answer(moco("show", job, "--json"))["spec"]["resources"] == {"gpus": 4, "nodes": 2}
    assert "4, on 2 nodes" in moco("show", job).stdout
    record = api.store.jobs.get(job)
    assert (record.slots, record.nodes) == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("-d", "unknown"), 102, "moco dataset ls"),
        ((), 2, "No dataset given"),
        (("-d", "known2", "--test-dataset", "unknown"), 102, "#/test_dataset"),
        (("-d", "known2", "--epochs", "0"), 2, "/epochs"),
        (("-d", "known2", "--gpus", "3", "--nodes", "2"), 2, "/resources/nodes"),
        (("-d", "known2", "--gpus", "3", "--batch-rows", "32"), 2, "/resources/gpus"),
        (("-d", "known2", "--set", "nothing.here=1"), 2, "/nothing: Unknown field"),
        (("-d", "known2", "--set", "epocs=1"), 2, "Did you mean epochs?"),
        (("-d", "known2", "--set", "optim.lr=-1"), 2, "--dry-run"),
        (("-d", "known2", "--encoder", "vit"), 2, "'resnet18'"),
        (("-d", "known2", "--method", "simcrl"), 2, "name must be moco, simclr, "),
        (("-d", "known2", "--method", "simclr", "--set", "method.queue_rows=64"), 2, "queue_rows"),
        (("-d", "known2", "--set", "epochs"), 2, "key.path=value"),
        (("-d", "known2", "-f", "no-such-file.json"), 2, "cannot be read"),
        (("-d", "known2", "--epochs", "many"), 2, "--epochs"),
    ],
)
def test_a_bad_submit(
    moco: Moco, api: RunningApi, arguments: tuple[str, ...], code: int, words: str
) -> None:
    if "known2" in arguments and moco("dataset", "show", "known2").exit_code:
        ready_dataset(api.store, "known2")
    result = moco("submit", *arguments)
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert result.stdout == ""


# the life of a job


def test_a_queued_job_says_what_it_waits_for(moco: Moco, api: RunningApi) -> None:
    job = queued_job(api.store, slots=9)
    pool = api.store.jobs.get(job).pool
    assert "No worker serves" in moco("show", job).stdout
    api.store.workers.beat(worker(id="w-8", pools=(pool,), slots=8))
    assert "It needs 9 slots on one worker" in " ".join(moco("show", job).stdout.split())
    assert "no worker fits" in moco("jobs").stdout
    api.store.workers.beat(worker(id="w-16", pools=(pool,), slots=16))
    assert "it waits for 9 slots" in " ".join(moco("show", job).stdout.split())
    for id in ("w-8", "w-16"):
        api.store.workers.leave(id)


def test_control(moco: Moco, api: RunningApi) -> None:
    job = queued_job(api.store)
    assert answer(moco("pause", job, "--json"))["status"] == "paused"
    assert moco("wait", job).exit_code == 101
    assert moco("watch", job).exit_code == 101
    assert "queued" in moco("resume", job).stdout
    assert moco("wait", job, "--timeout", "0.1").exit_code == 101
    assert moco("delete", job, "--yes").exit_code == 1
    assert "cancelled" in moco("cancel", job).stdout
    assert moco("cancel", job).exit_code == 0
    assert answer_of_wait(moco, job) == (103, "cancelled")
    assert moco("watch", job).exit_code == 103
    assert moco("delete", job).exit_code == 2
    assert answer(moco("delete", job, "--yes", "--json"))["deleted"]
    assert moco("show", job).exit_code == 102


def answer_of_wait(moco: Moco, job: str) -> tuple[int, str]:
    result = moco("wait", job, "--json")
    return result.exit_code, answer(result)["status"]


def test_jobs_in_pages(moco: Moco, api: RunningApi) -> None:
    made = sorted(queued_job(api.store) for _ in range(3))  # of one millisecond: in any order
    result = moco("jobs", "-n", "2")
    assert made[2] in result.stdout
    assert made[0] not in result.stdout
    assert f"moco jobs --after {made[1]}" in result.stderr
    page = answer(moco("jobs", "--json", "--after", made[1], "-n", "1"))
    assert page["data"][0]["id"] == made[0]
    assert moco("jobs", "--status", "asleep").exit_code == 2


def run_to_end(api: RunningApi, job: str, *, fails: bool = False) -> None:
    """Report a short run as a worker does."""
    store = api.store
    lease = claim(store, store.jobs.get(job).pool)
    stepped = {"loss": 5.5, "chance_loss": 6.9, "top1": 0.25, "rows_per_s": 1000.0}
    events: list[dict[str, Any]] = [
        {"type": "started", "step": 0, "steps_planned": 4, "steps_per_epoch": 2, "rows": 9},
        {"type": "stepped", "step": 4, "epoch": 2.0, "signals": stepped},
        {"type": "evaluated", "step": 4, "epoch": 2.0, "signals": {"knn_top1": 0.5}},
    ]
    events[0]["device"] = "cpu"
    store.queue.append(lease, [json.dumps(event) for event in events], None)
    if fails:
        store.queue.fail(lease, code="oom", message="Too big.", hint="Smaller.", retry=False)
    else:
        store.queue.complete(lease, artifacts=(), artifacts_folder="none")


def test_watch_in_plain_lines(moco: Moco, api: RunningApi) -> None:
    job = queued_job(api.store)
    thread = threading.Timer(0.3, run_to_end, (api, job))
    thread.start()
    result = moco("watch", job)
    thread.join()
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "queued"
    assert "epoch 2.0/3  step 4/4  loss 5.500 (chance 6.90)  top-1 25.0%" in result.stdout
    assert "kNN 50.0%" in result.stdout
    assert lines[-1].startswith(f"{job} succeeded after ")
    assert "The job is queued. No worker serves the" in result.stderr
    assert f"next: moco download {job}" in result.stderr


def test_watch_as_json_lines(moco: Moco, api: RunningApi) -> None:
    job = queued_job(api.store)
    run_to_end(api, job, fails=True)
    result = moco("watch", job, "--json")
    assert result.exit_code == 100
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [e["event"]["type"] for e in events][-4:] == [
        "started",
        "stepped",
        "evaluated",
        "status",
    ]
    rest = moco("watch", job, "--json", "--after", events[-2]["id"]).stdout.splitlines()
    assert [json.loads(line) for line in rest] == events[-1:]
    told = moco("watch", job)
    assert "failed: Too big." in told.stdout
    assert told.stderr.startswith(f"error: {job} failed after ")
    assert f"  Too big.\n  next: Smaller. `moco logs {job}`" in told.stderr
    waited = moco("wait", job, "--json")
    assert (waited.exit_code, answer(waited)["status"]) == (100, "failed")
    assert json.loads(waited.stderr)["detail"] == "Too big."


def test_submit_and_follow_keeps_stdout_for_the_id(moco: Moco, api: RunningApi) -> None:
    ready_dataset(api.store, "followed")
    pool = "pool-followed"

    def work() -> None:
        while not api.store.jobs.depth(pool).jobs:
            time.sleep(0.02)
        job = api.store.jobs.list(status="queued", limit=1).data[0]
        run_to_end(api, job.id)

    thread = threading.Thread(target=work)
    thread.start()
    result = moco("submit", "-d", "followed", "--set", f"pool={pool}", "--follow")
    thread.join()
    assert result.exit_code == 0, result.output
    assert result.stdout.strip().startswith("job_")
    assert len(result.stdout.splitlines()) == 1
    assert "succeeded" in result.stderr


def test_logs(moco: Moco, api: RunningApi) -> None:
    lease = running_job(api.store)
    folder = api.data_dir / lease.folder / "attempts" / "1"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("one\ntwo\nthree\n")
    assert moco("logs", lease.job_id, "-n", "2").stdout.splitlines() == ["two", "three"]
    assert answer(moco("logs", lease.job_id, "--json"))["lines"] == ["one", "two", "three"]
    api.store.queue.complete(lease, artifacts=(), artifacts_folder="none")
    followed = moco("logs", lease.job_id, "--follow", "--json").stdout.splitlines()
    assert json.loads(followed[-1]) == {"attempt": 1, "line": "three"}


def test_download(moco: Moco, api: RunningApi, tmp_path: Path) -> None:
    job = finished_job(api, {"encoder.pth": b"weights", "README.md": b"# card"})
    result = moco("download", job, "-o", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "encoder.pth").read_bytes() == b"weights"
    assert "every sha256 verified" in result.stderr
    only = moco("download", job, "-o", str(tmp_path / "one"), "--only", "README.md", "--json")
    assert [file["name"] for file in answer(only)["data"]] == ["README.md"]
    assert moco("download", job, "--only", "nothing.bin").exit_code == 102
    unfinished = queued_job(api.store)
    result = moco("download", unfinished)
    assert result.exit_code == 101
    assert f"moco watch {unfinished}" in result.stderr
    (tmp_path / "file").touch()
    assert moco("download", job, "-o", str(tmp_path / "file")).exit_code == 1


def test_the_newest_job_is_meant_when_none_is_named(moco: Moco, api: RunningApi) -> None:
    job = queued_job(api.store)
    assert answer(moco("show", "--json"))["id"] == job


def test_workers(moco: Moco) -> None:
    result = moco("workers")
    assert "No workers online" in result.stderr
    assert answer(moco("workers", "--json"))["data"] == []
    assert moco("workers", "--drain", "nobody").exit_code == 102
