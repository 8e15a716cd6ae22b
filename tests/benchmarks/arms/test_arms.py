"""The arms of the speed benchmark, and the processes that they run in."""

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import asdict

import psutil
import pytest

from benchmarks.arms.interface import OURS, PEERS, Setup
from benchmarks.data.image_sets import prepare_images
from benchmarks.harness.arm_process import running_arm
from tests.support.data.images import encoded, picture, write_zip
from tests.support.system.processes import alive

ARMS = "tests.support.trainer.benchmark_arms"
VIEWS = ("views-pack", "views-jpeg", "views-pil-files", "views-pil-memory")


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    folder = tmp_path_factory.mktemp("arms")
    files = {
        f"{row % 2}/{row}.jpg": encoded(picture(row, height=20, width=18), "JPEG")
        for row in range(32)
    }
    images = prepare_images(write_zip(folder / "images.zip", files), folder / "out")
    return Setup(
        images=str(images.folder),
        pack=str(images.pack),
        encoder="small",
        batch_rows=8,
        queue_rows=32,
        side_px=16,
        workers=0,
        lr=0.03,
    )


def test_every_arm_learns(setup: Setup) -> None:
    """In one process without workers, in which the peers may warn: it is quicker than six."""
    names = [OURS, *PEERS, *VIEWS]
    done = subprocess.run(
        [sys.executable, "-m", ARMS, json.dumps(asdict(setup)), *names],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == names
    for name, blocks in found.items():
        for block in blocks:
            assert math.isfinite(block["loss"]), name
            assert block["seconds"] > 0.0
    for name in (OURS, *PEERS):
        # Of one positive among 32 negatives, ln 33 by chance. T of 0.1 makes bad ones worse.
        assert 0.0 < found[name][1]["loss"] < 1.5 * math.log(33), name


def test_an_arm_answers_falls_idle_and_leaves_nobody_behind(setup: Setup) -> None:
    with_workers = Setup(**asdict(setup) | {"workers": 1})
    with running_arm("practice", with_workers) as arm:
        assert arm.read_block().seconds == 0.0
        assert math.isfinite(arm.run_steps(2).loss)
        workers = psutil.Process(arm.process.pid).children()
        assert workers
        began_s = time.monotonic()
        arm.wait_until_idle()
        assert time.monotonic() - began_s < 30.0
    assert arm.process.returncode == 0
    assert not any(alive(worker.pid) for worker in workers)


def test_an_arm_that_fails_is_an_error_that_names_it(setup: Setup) -> None:
    with (
        running_arm("nobody", setup) as arm,
        pytest.raises(SystemExit, match="nobody ended with 1"),
    ):
        arm.read_block()
