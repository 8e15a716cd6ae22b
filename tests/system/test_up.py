"""`moco up` as a user runs it: images in, encoder out, Ctrl-C, and nothing left behind."""

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from service.cli.commands.up import _ready_text
from tests.support.client.moco_up import Up, images
from tests.support.gpus import fake_nvml
from tests.support.gpus.fake_nvml import FakeCard, FakeMachine

EIGHT_GPUS = {
    "MOCO_DEVICE": "auto",
    **fake_nvml.environment(FakeMachine(tuple(FakeCard(f"GPU-{i}") for i in range(8)))),
}
THREE = {"number": 3, "device": "cuda:1,3,6"}


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    running = Up(tmp_path / "data")
    try:
        yield running
    finally:
        running.end()


@pytest.mark.slow
def test_from_a_folder_of_images_to_an_encoder(up: Up, tmp_path: Path) -> None:
    ready = up.next("ready")
    assert (up.data_dir / "api.key").stat().st_mode & 0o777 == 0o600
    assert json.loads((up.data_dir / "server.json").read_text())["url"] == ready["url"]
    look = Path(ready["read_key_file"])
    assert look == up.data_dir / "read.key"
    assert look.stat().st_mode & 0o777 == 0o600
    changes = up.moco("submit", "-d", "x", "--key", look.read_text().strip(), code=3)
    assert "read-only" in changes.stderr
    assert set(ready["pids"]) == {"api", "exporter", "worker", "worker-ingest"}
    assert ready["slots"]["worker"] == {"number": 1, "device": "cpu"}

    taken = up.moco("up", "--port", "0", code=1)
    assert f"It is running at {ready['url']}" in taken.stderr

    added = up.moco("dataset", "add", str(images(tmp_path / "imgs")), "--name", "pets", "--json")
    facts = json.loads(added.stdout)["facts"]
    assert (facts["rows"], facts["bad_files"], facts["labels"]) == (48, 1, ["cat", "dog"])
    report = json.loads(up.moco("dataset", "report", "pets", "--json").stdout)
    assert [file["name"] for file in report["data"]] == ["cat/broken.png"]

    sent = up.moco("submit", "-d", "pets", "--encoder", "small", "--epochs", "2")
    job = sent.stdout.strip()
    events = [json.loads(line) for line in up.moco("watch", job, "--json").stdout.splitlines()]
    types = [event["event"]["type"] for event in events]
    assert {"status", "started", "stepped", "published"} <= set(types)
    assert up.moco("wait", job).stdout.strip() == f"{job} succeeded"

    out = tmp_path / "encoder"
    got = json.loads(up.moco("download", job, "-o", str(out), "--json").stdout)
    files = {file["name"]: file["sha256"] for file in got["data"]}
    assert {"encoder.safetensors", "encoder.pth", "config.json", "atlas.png"} <= files.keys()
    for name, sha256 in files.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == sha256
    lines = (out / "SHA256SUMS").read_text().splitlines()
    assert len(lines) >= len(files) - 1
    for line in lines:
        sha256, name = line.split()
        assert files[name.removeprefix("*")] == sha256

    os.kill(ready["pids"]["exporter"], signal.SIGKILL)
    assert up.next("crashed")["name"] == "exporter"
    assert up.next("restarted")["pid"] != ready["pids"]["exporter"]
    redis = json.loads((up.data_dir / "redis" / "server.json").read_text())["pid"]
    os.kill(redis, signal.SIGKILL)
    assert up.next("crashed")["name"] == "redis"
    assert up.next("restarted")["pid"] != redis
    assert json.loads(up.moco("show", job, "--json").stdout)["status"] == "succeeded"

    everyone = up.everyone()
    assert len(everyone) >= 6
    up.process.send_signal(signal.SIGINT)
    assert up.next("stopped")
    assert up.process.wait(60) == 0
    _, alive = psutil.wait_procs(everyone, timeout=5)
    assert alive == []
    assert not (up.data_dir / "server.json").exists()
    assert up.moco("jobs", code=4).stdout == ""


@pytest.mark.slow
def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    """Redis alone outlives it, whole; the next `moco up` takes it over and ends it."""
    up = Up(tmp_path / "data", "--no-worker")
    try:
        up.next("ready")
        sent = up.moco("dataset", "add", str(images(tmp_path / "imgs")), "--name", "a", "--no-wait")
        assert "preparing" in sent.stdout
        everyone = up.everyone()
        up.process.kill()
        up.process.communicate()
        _, alive = psutil.wait_procs(everyone, timeout=10)
        assert [process for process in alive if "python" in process.name()] == []
        again = Up(tmp_path / "data", "--no-worker")
        again.next("ready")
        assert "preparing" in again.moco("dataset", "ls").stdout  # and waits for a worker as before
        again.end()
        _, alive = psutil.wait_procs(alive, timeout=10)
        assert alive == []
    finally:
        up.end()


def test_a_child_that_cannot_start_ends_the_rest(tmp_path: Path) -> None:
    """A Redis that is not there: the service says so, shows the log, and leaves nothing."""
    up = Up(tmp_path / "data", "--redis", "redis://127.0.0.1:9/0", "--no-worker")
    out, told = up.process.communicate(timeout=100)
    assert up.process.returncode == 1
    failure = json.loads(told)
    assert "failed to start" in failure["title"]
    assert "Traceback" not in failure["detail"]
    assert not (tmp_path / "data" / "server.json").exists()
    assert [json.loads(line)["event"] for line in out.splitlines()][-1] == "stopping"


def test_gpus_that_cannot_be_used_end_it_with_what_to_install(tmp_path: Path) -> None:
    old = fake_nvml.environment(FakeMachine((FakeCard("GPU-a"),), driver="550.54.15", cuda=12040))
    up = Up(tmp_path / "data", **{"MOCO_DEVICE": "auto", **old})
    _, words = up.process.communicate(timeout=100)
    assert up.process.returncode == 1
    failure = json.loads(words)
    assert failure["title"] == "worker failed to start"
    assert "Install driver 580.65.06 or newer" in failure["detail"]


@pytest.mark.parametrize(
    ("options", "variables", "slots"),
    [
        pytest.param(
            *(["--workers", "3"], {}, {"number": 3, "device": "cpu"}), marks=pytest.mark.chaos
        ),
        pytest.param(
            *([], EIGHT_GPUS, {"number": 8, "device": "cuda:0-7"}), marks=pytest.mark.chaos
        ),
        (["--device", "cuda:6", "--device", "cuda:1,cuda:3"], EIGHT_GPUS, THREE),
    ],
)
def test_workers_and_devices_are_numbers_of_slots(
    tmp_path: Path, options: list[str], variables: dict[str, str], slots: dict[str, Any]
) -> None:
    """One process has all of them; another prepares datasets."""
    up = Up(tmp_path / "data", *options, **variables)
    try:
        ready = up.next("ready")
        assert ready["slots"] == {"worker": slots, "worker-ingest": {"number": 1, "device": "cpu"}}
        found = {row["pid"]: row for row in json.loads(up.moco("workers", "--json").stdout)["data"]}
        assert found[ready["pids"]["worker"]]["slots"] == slots["number"]
    finally:
        up.end()


def test_what_people_read_when_it_is_ready() -> None:
    facts = {
        "url": "http://127.0.0.1:1",
        "key_file": "/data/api.key",
        "read_key_file": "/data/read.key",
        "data_dir": "/data",
        "metrics": {},
        "slots": {"worker": {"number": 8, "device": "cuda:0-7"}},
    }
    told = _ready_text(facts)
    assert "  training 8 jobs at a time on cuda:0-7\n" in told
    assert "needs a worker" in _ready_text({**facts, "slots": {}})
    assert "  key      in /data/api.key\n" in told
    assert "  read key in /data/read.key (read-only access)\n" in told
