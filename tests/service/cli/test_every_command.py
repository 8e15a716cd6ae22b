"""The failures that all commands share, and the whole of `moco` as a program."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.client.moco_command import Moco, answer
from tests.support.service.api import KEY, RunningApi, queued_job
from tests.support.system.processes import interruptible

COMMANDS = (
    ("dataset", "ls"),
    ("dataset", "show", "x"),
    ("dataset", "report", "x"),
    ("dataset", "wait", "x"),
    ("dataset", "rename", "x", "y"),
    ("dataset", "rm", "x", "--yes"),
    ("submit", "-d", "x"),
    ("submit", "-d", "x", "--dry-run"),
    ("finetune", "-d", "x"),
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
    ("download", "job_y", "--curves"),
    ("compare", "job_y", "job_x"),
    ("neighbours", "job_x"),
    ("weights", "ls"),
    ("weights", "rm", "x", "--yes"),
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
    monkeypatch.setattr("mocoserve.http.backoff_s", lambda *_a, **_k: 0.0)
    monkeypatch.setattr("mocoserve.polling.PATIENCE_S", 0.0)
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
    "arguments", [("nothing",), ("jobs", "--nothing"), ("cancel",), ("dataset", "add")]
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
    with interruptible([sys.executable, "-m", "service.cli", "watch", job], env) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "queued\n"
        watcher.send_signal(signal.SIGINT)
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
