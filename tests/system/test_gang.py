"""One job on two slots through the front door, against torchrun by hand with the same spec."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.client.moco_up import Up, images
from tests.support.system.processes import alive, wait_until
from tests.support.worker.stack import ROOT

ENCODER = "encoder.safetensors"
RANK = "worker.process.rank_main"
LONG_S = 300.0
SHORT_JOB = (
    *("-d", "pets", "--encoder", "small", "--epochs", "20", "--batch-rows", "16", "--gpus", "2"),
    *("--set", "evaluation=null", "--set", "checkpoint_every_steps=10"),
)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("gang")
    running = Up(folder / "data", "--workers", "2")
    try:
        running.next("ready")
        running.moco("dataset", "add", str(images(folder / "images")), "--name", "pets")
        yield running
    finally:
        running.end()


@pytest.fixture(scope="module")
def undisturbed(up: Up) -> dict[str, Any]:
    """Return the job that nobody disturbed, once it has succeeded."""
    job = up.moco("submit", *SHORT_JOB).stdout.strip()
    watched = [json.loads(line) for line in up.moco("watch", job, "--json").stdout.splitlines()]
    types = {event["event"]["type"] for event in watched}
    assert {"status", "started", "stepped", "checkpointed", "published"} <= types
    shown: dict[str, Any] = json.loads(up.moco("show", job, "--json").stdout)
    assert (shown["status"], shown["attempt"]) == ("succeeded", 1)
    return shown


def downloaded_sha256(up: Up, job: str, folder: Path) -> str:
    up.moco("download", job, "-o", str(folder))
    return hashlib.sha256((folder / ENCODER).read_bytes()).hexdigest()


def by_hand(up: Up, job: dict[str, Any], folder: Path) -> str:
    """Train the job's spec with torchrun, without any service, and return the encoder's hash."""
    (pack,) = up.data_dir.glob(f"datasets/{job['dataset_id']}/attempts/*/pack")
    folder.mkdir()
    spec = folder / "spec.json"
    spec.write_text(json.dumps(job["spec"] | {"dataset": str(pack)}))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    trainer = ["-m", "trainer", str(spec), "--out", str(folder / "run"), "--device", "cpu"]
    subprocess.run(
        [sys.executable, *torchrun, *trainer, "--threads", "1"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return hashlib.sha256((folder / "run" / "artifacts" / ENCODER).read_bytes()).hexdigest()


def ranks(up: Up) -> list[int]:
    """Return the processes of the running job's ranks, in their order."""
    found = []
    for process in up.everyone():
        try:
            if RANK in process.cmdline():
                found.append((process.environ()["RANK"], process.pid))
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return [pid for _, pid in sorted(found)]


@pytest.mark.slow
def test_the_encoder_has_the_bytes_of_torchrun_by_hand(
    up: Up, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    own = downloaded_sha256(up, undisturbed["id"], tmp_path / "encoder")
    assert own == by_hand(up, undisturbed, tmp_path / "hand")


@pytest.mark.chaos
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_costs_an_attempt_and_no_bit(
    up: Up, undisturbed: dict[str, Any], tmp_path: Path, victim: int
) -> None:
    job = up.moco("submit", *SHORT_JOB).stdout.strip()

    def shown() -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(up.moco("show", job, "--json").stdout)
        return answer

    wait_until(lambda: (shown()["checkpoint_step"] or 0) >= 10, LONG_S, "a checkpoint")
    pids = ranks(up)
    assert len(pids) == 2
    os.kill(pids[victim], signal.SIGKILL)
    wait_until(lambda: not any(map(alive, pids)), LONG_S, "the other rank has ended")
    assert up.moco("wait", job).stdout.strip() == f"{job} succeeded"
    attempts = json.loads(up.moco("show", job, "--json").stdout)["attempt"]
    assert attempts == 2
    assert downloaded_sha256(up, job, tmp_path / "second") == downloaded_sha256(
        up, undisturbed["id"], tmp_path / "first"
    )
