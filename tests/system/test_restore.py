"""Back-up and restore as docs/operations.md tells them, with a service that trains meanwhile."""

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from mocoserve.client import Client
from tests.support.client.moco_up import Up, images
from tests.support.system.processes import wait_until

SPEC = {"dataset": "pets", "encoder": {"name": "small"}, "evaluation": None, "epochs": 2}


def back_up(data_dir: Path, target: Path) -> None:
    """Copy a folder in use as `rsync` does: files that vanish meanwhile are left out."""

    def copy(source: str, goal: str) -> None:
        if Path(source).exists():
            shutil.copy2(source, goal)

    left_out = shutil.ignore_patterns("redis", "logs")
    shutil.copytree(data_dir, target, ignore=left_out, copy_function=copy)


def destroy(up: Up) -> None:
    """The machine is gone: every process at once, and the disk."""
    redis = json.loads((up.data_dir / "redis" / "server.json").read_text())["pid"]
    for process in reversed(up.everyone()):
        process.kill()
    if psutil.pid_exists(redis):
        os.kill(redis, signal.SIGKILL)
    up.process.communicate(timeout=20)
    shutil.rmtree(up.data_dir)


@contextmanager
def serving(data_dir: Path) -> Iterator[tuple[Up, Client]]:
    up = Up(data_dir)
    try:
        url = up.next("ready")["url"]
        with Client(url, (data_dir / "api.key").read_text().strip()) as client:
            yield up, client
    finally:
        up.end()


def sha256_of_encoder(client: Client, job: str, out: Path) -> str:
    file = next(one for one in client.artifacts.list(job) if one.name == "encoder.safetensors")
    return hashlib.sha256(client.artifacts.download(job, file, out).read_bytes()).hexdigest()


@pytest.mark.chaos
def test_a_copy_of_the_data_folder_is_enough(tmp_path: Path) -> None:
    data_dir, copy = tmp_path / "data", tmp_path / "backup"
    with serving(data_dir) as (up, client):
        client.datasets.add(images(tmp_path / "imgs"), name="pets")
        done = client.jobs.create(SPEC).wait()
        before = sha256_of_encoder(client, done.id, tmp_path / "before")
        long = client.jobs.create({**SPEC, "epochs": 5000, "checkpoint_every_steps": 20})
        wait_until(lambda: bool(client.jobs.get(long.id).checkpoint_step), 60, "a checkpoint")
        saved_step = client.jobs.get(long.id).checkpoint_step or 0
        back_up(data_dir, copy)
        destroy(up)

    copy.rename(data_dir)
    with serving(data_dir) as (up, client):
        assert client.jobs.get(done.id).status == "succeeded"
        assert sha256_of_encoder(client, done.id, tmp_path / "after") == before
        wait_until(lambda: client.jobs.get(long.id).status == "running", 60, "it goes on")
        assert (client.jobs.get(long.id).checkpoint_step or 0) >= saved_step > 0
        client.jobs.cancel(long.id)
        new = client.jobs.create(SPEC).wait()
        assert new.status == "succeeded"
        assert sha256_of_encoder(client, new.id, tmp_path / "new") == before
        assert client.jobs.wait(long.id).status == "cancelled"
        assert "no problems" in up.moco("admin", "verify", "--deep").stderr
