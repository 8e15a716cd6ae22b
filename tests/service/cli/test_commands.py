"""Every command against a real API. A worker is played by calls to the store."""

import hashlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from service.cli.main import app
from tests.support.api import (
    KEY,
    RunningApi,
    claim,
    facts,
    finished_job,
    queued_job,
    ready_dataset,
    running_job,
)

Moco = Callable[..., Result]


@pytest.fixture
def moco(api: RunningApi, tmp_path: Path) -> Moco:
    """Run a command as a script would: no terminal, the server in the environment."""
    env = {"MOCO_URL": api.url, "MOCO_API_KEY": KEY, "MOCO_DATA_DIR": str(tmp_path / "none")}

    def run(*arguments: str, **changes: str) -> Result:
        result = CliRunner().invoke(app, list(arguments), env={**env, **changes})
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert "Traceback" not in result.output
        return result

    return run


def answer(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def archive(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a.png", bytes(50_000))
    return path


@pytest.fixture
def ingests(api: RunningApi) -> Iterator[None]:
    """An ingest worker that finds what `facts` says in whatever it is given."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.02):
            lease = api.store.queue.claim(
                pools=("ingest",), worker_id="w", nonce=os.urandom(8).hex()
            )
            if lease is not None:
                known = facts().model_dump_json()
                folder = f"{lease.folder}/attempts/1/pack"
                api.store.queue.complete(
                    lease, artifacts=(), artifacts_folder=folder, facts_json=known
                )

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()


# datasets


@pytest.mark.usefixtures("ingests")
def test_add_a_file_and_again(moco: Moco, tmp_path: Path) -> None:
    path = str(archive(tmp_path / "x.zip"))
    result = moco("dataset", "add", path, "--name", "added")
    assert result.exit_code == 0, result.output
    assert "1,000" in result.stdout
    assert "next: moco submit -d added" in result.stderr
    again = moco("dataset", "add", path, "--name", "added", "--json")
    assert answer(again)["status"] == "ready"
    assert "is there already" in again.stderr
    other = moco("dataset", "add", str(archive(tmp_path / "y.zip")), "--name", "added")
    assert other.exit_code in (0, 1)
    (tmp_path / "z.zip").write_bytes(b"PK other bytes")
    other = moco("dataset", "add", str(tmp_path / "z.zip"), "--name", "added")
    assert (other.exit_code, "Choose another --name" in other.stderr) == (1, True)
    assert [d["name"] for d in answer(moco("dataset", "ls", "--json"))["data"]] == ["added"]
    assert "added" in moco("dataset", "ls").stdout
    assert answer(moco("dataset", "show", "added", "--json"))["facts"]["rows"] == 1000
    assert "rows" in moco("dataset", "show", "added").stdout
    assert moco("dataset", "wait", "added", "--timeout", "1").exit_code == 0


@pytest.mark.usefixtures("ingests")
def test_add_goes_on_with_an_upload_that_was_broken_off(
    moco: Moco, api: RunningApi, tmp_path: Path
) -> None:
    content = archive(tmp_path / "x.zip").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    told = {"name": "broken-off", "size_bytes": len(content), "sha256": sha256}
    made = api.client.post("/v1/datasets", json=told).json()
    api.client.put(f"/v1/datasets/{made['id']}/content", content=content[:20_000])
    result = moco("dataset", "add", str(tmp_path / "x.zip"), "--name", "broken-off", "--json")
    assert result.exit_code == 0, result.output
    assert "broken-off goes on" in result.stderr
    assert (answer(result)["id"], answer(result)["status"]) == (made["id"], "ready")


@pytest.mark.usefixtures("ingests")
def test_add_a_folder(moco: Moco, tmp_path: Path, api: RunningApi) -> None:
    (tmp_path / "imgs" / "cat").mkdir(parents=True)
    (tmp_path / "imgs" / "cat" / "1.png").write_bytes(b"x" * 1000)
    result = moco("dataset", "add", str(tmp_path / "imgs"), "--name", "folder", "--json")
    assert result.exit_code == 0, result.output
    assert answer(result)["format"] == "tar"
    place = api.data_dir.parent / "allowed" / "in-place"
    place.mkdir()
    (place / "1.png").write_bytes(b"x")
    result = moco("dataset", "add", str(place), "--name", "in-place", "--in-place", "--json")
    assert (result.exit_code, answer(result)["status"]) == (0, "ready")
    result = moco("dataset", "add", str(tmp_path), "--name", "outside", "--in-place")
    assert result.exit_code == 1


def test_a_dataset_that_fails_and_its_report(moco: Moco, tmp_path: Path, api: RunningApi) -> None:
    path = str(archive(tmp_path / "x.zip"))
    begun = moco("dataset", "add", path, "--name", "bad", "--no-wait", "--json")
    assert answer(begun)["status"] == "preparing"
    assert moco("dataset", "wait", "bad", "--timeout", "0").exit_code == 101
    lease = claim(api.store, "ingest")
    api.store.queue.fail(
        lease, code="bad_dataset", message="No image.", hint="Add images.", retry=False
    )
    result = moco("dataset", "wait", "bad")
    assert result.exit_code == 100
    assert "No image." in result.stderr
    assert "next: Add images." in result.stderr


# submit


def test_submit(moco: Moco, api: RunningApi, tmp_path: Path) -> None:
    ready_dataset(api.store, "known")
    (tmp_path / "s.json").write_text('{"epochs": 7, "seed": 3}')
    result = moco(
        *("submit", "-d", "known", "-f", str(tmp_path / "s.json"), "--encoder", "small"),
        *("--epochs", "2", "--set", "views.flip_p=0", "--idempotency-key", "k", "--name", "n"),
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
    assert "you said so" in result.stdout
    assert "Nothing was started" in result.stderr
    preview = answer(moco("submit", "-d", "dry", "--dry-run", "--json"))
    assert preview["resolved"]["batch_rows"] > 0
    assert preview["reasons"]["batch_rows"]
    assert len(answer(moco("jobs", "--json"))["data"]) == before


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("-d", "unknown"), None, "unknown"),
        ((), 2, "No dataset is named"),
        (("-d", "known2", "--epochs", "0"), 1, "/epochs"),
        (("-d", "known2", "--set", "nothing.here=1"), 1, "/nothing"),
        (("-d", "known2", "--set", "epochs"), 2, "key.path=value"),
        (("-d", "known2", "-f", "no-such-file.json"), 2, "cannot be read"),
        (("-d", "known2", "--epochs", "many"), 2, "--epochs"),
    ],
)
def test_a_bad_submit(
    moco: Moco, api: RunningApi, arguments: tuple[str, ...], code: int | None, words: str
) -> None:
    if "known2" in arguments and moco("dataset", "show", "known2").exit_code:
        ready_dataset(api.store, "known2")
    result = moco("submit", *arguments)
    assert result.exit_code == code if code else result.exit_code in (1, 102)
    assert words in result.stderr
    assert result.stdout == ""


# the life of a job


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
    made = [queued_job(api.store) for _ in range(3)]
    result = moco("jobs", "-n", "2")
    assert made[2] in result.stdout
    assert made[0] not in result.stdout
    assert f"moco jobs --after {made[1]}" in result.stderr
    page = answer(moco("jobs", "--json", "--after", made[1], "-n", "1"))
    assert page["data"][0]["id"] == made[0]
    assert moco("jobs", "--status", "asleep").exit_code == 1


def run_to_end(api: RunningApi, job: str, *, fails: bool = False) -> None:
    """What a worker tells of a short run."""
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
    assert "No worker of the pool" in result.stderr
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
    assert "next: Smaller." in told.stderr


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
    assert "No worker runs" in result.stderr
    assert answer(moco("workers", "--json"))["data"] == []
    assert moco("workers", "--drain", "nobody").exit_code == 102


# failures that every command shares


COMMANDS = (
    ("dataset", "ls"),
    ("dataset", "show", "x"),
    ("dataset", "report", "x"),
    ("dataset", "wait", "x"),
    ("submit", "-d", "x"),
    ("submit", "-d", "x", "--dry-run"),
    ("jobs",),
    ("show", "job_x"),
    ("logs", "job_x"),
    ("watch", "job_x"),
    ("cancel", "job_x"),
    ("pause", "job_x"),
    ("resume", "job_x"),
    ("wait", "job_x"),
    ("delete", "job_x", "--yes"),
    ("download", "job_x"),
    ("workers",),
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_wrong_key_is_3_and_json_stays_json(moco: Moco, arguments: tuple[str, ...]) -> None:
    result = moco(*arguments, "--json", MOCO_API_KEY="wrong-key-wrong-key")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert json.loads(result.stderr)["object"] == "error"


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_no_server_is_4_and_says_what_to_do(
    moco: Moco, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.client.http.backoff_s", lambda *_a, **_k: 0.0)
    monkeypatch.setattr("service.client.jobs.PATIENCE_S", 0.0)
    result = moco(*arguments, MOCO_URL="http://127.0.0.1:9")
    assert result.exit_code == 4
    assert result.stdout == ""
    assert "moco up" in result.stderr


@pytest.mark.parametrize("arguments", [c for c in COMMANDS if c[-1] == "job_x"], ids=" ".join)
def test_an_unknown_job_is_102(moco: Moco, arguments: tuple[str, ...]) -> None:
    result = moco(*arguments)
    assert result.exit_code == 102, result.output
    assert "next: " in result.stderr


def test_without_server_or_key(moco: Moco, tmp_path: Path) -> None:
    result = moco("jobs", MOCO_URL="")
    assert result.exit_code == 4
    assert "moco up" in result.stderr
    result = moco("jobs", MOCO_API_KEY="", MOCO_DATA_DIR=str(tmp_path))
    assert result.exit_code == 3
    assert "MOCO_API_KEY" in result.stderr


@pytest.mark.parametrize(
    "arguments", [("nothing",), ("jobs", "--nothing"), ("cancel",), ("dataset", "add", "x")]
)
def test_a_wrong_command_line_is_2(moco: Moco, arguments: tuple[str, ...]) -> None:
    assert moco(*arguments).exit_code == 2


def test_doctor(moco: Moco, api: RunningApi) -> None:
    result = moco("doctor", "--json")
    checks = {check["name"]: check for check in answer(result)["data"]}
    assert {"python", "torch", "redis", "disk", "key", "server", "workers"} <= checks.keys()
    assert checks["server"]["state"] == "ok"
    assert checks["workers"]["state"] == "warn"
    assert api.url in moco("doctor").stdout
    down = moco("doctor", MOCO_URL="http://127.0.0.1:9")
    assert down.exit_code == 1


# the program itself


def test_help_is_quick(tmp_path: Path) -> None:
    """Half a second of a core at most, compiled before as an installed program is."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    took_s = []
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "service.cli", "--help"],
            capture_output=True,
            text=True,
            env={**env, "PYTHONPYCACHEPREFIX": str(tmp_path)},
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert all(word in done.stdout for word in ("up", "demo", "submit", "watch", "download"))
    assert min(took_s) <= 0.5


def test_help_loads_nothing_slow() -> None:
    code = (
        "import sys; import service.cli.main\n"
        "late = {'torch', 'numpy', 'httpx', 'rich.table', 'redis', 'pydantic', 'fastapi'}\n"
        "print(sorted(late & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_ctrl_c_while_watching_detaches(api: RunningApi) -> None:
    job = queued_job(api.store)
    env = {**os.environ, "MOCO_URL": api.url, "MOCO_API_KEY": KEY}
    watcher = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "watch", job],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
    assert watcher.stdout is not None
    assert watcher.stdout.readline() == "queued\n"
    watcher.send_signal(2)
    _, told = watcher.communicate(timeout=20)
    assert watcher.returncode == 130
    assert f"moco watch {job}" in told
    assert "Traceback" not in told
    assert api.store.jobs.get(job).status == "queued"


def test_a_reader_that_leaves_is_no_error(api: RunningApi) -> None:
    env = {**os.environ, "MOCO_URL": api.url, "MOCO_API_KEY": KEY}
    script = f"{sys.executable} -m service.cli jobs --json | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=env, check=False
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
