"""Start arms as processes (`arm_main`), let one work at a time, stop them."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import psutil

from benchmarks.arms.interface import Block, Setup
from trainer.accel import openmp

STOP_TIMEOUT_S = 120.0
POLL_INTERVAL_S = 0.1
IDLE_POLLS = 3
IDLE_TIMEOUT_S = 60.0


class ArmProcess:
    """Handle of a running arm."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name, self.process = name, process

    def run_steps(self, count: int) -> Block:
        """Run `count` steps and wait for them."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"steps": count}) + "\n")
        self.process.stdin.flush()
        return self.read_block()

    def read_block(self) -> Block:
        """The next answer. Raises SystemExit if the arm has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the arm {self.name} ended with {self.process.wait()}")
        return Block(**json.loads(line))

    def wait_until_idle(self) -> None:
        """Wait until the arm and its workers, which prefetch, use no CPU time."""
        idle_polls, before_s = 0, self._cpu_s()
        deadline_s = time.monotonic() + IDLE_TIMEOUT_S
        while idle_polls < IDLE_POLLS and time.monotonic() < deadline_s:
            time.sleep(POLL_INTERVAL_S)
            now_s = self._cpu_s()
            idle_polls = idle_polls + 1 if now_s == before_s else 0
            before_s = now_s

    def stop(self) -> None:
        """End it, and the workers that it leaves behind, each by its own number."""
        assert self.process.stdin is not None
        workers = self._tree()[1:]
        # An arm that has ended closed the pipe already.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for worker in psutil.wait_procs(workers, timeout=STOP_TIMEOUT_S)[1]:
            worker.kill()

    def _tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _cpu_s(self) -> float:
        """Processor time of all its processes so far."""
        cpu_s = 0.0
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                cpu_s += times.user + times.system
        return cpu_s


@contextmanager
def running_arm(name: str, setup: Setup) -> Iterator[ArmProcess]:
    """Start an arm, which reports when it is ready, and stop it at the end of the block."""
    # What this process may have set for itself is no setting of the arm's.
    env = {key: value for key, value in os.environ.items() if key not in openmp.VARIABLES}
    process = subprocess.Popen(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "benchmarks.harness.arm_main",
            name,
            json.dumps(asdict(setup)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    )
    arm = ArmProcess(name, process)
    try:
        yield arm
    finally:
        arm.stop()
        assert process.stdout is not None
        process.stdout.close()
