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

END_S = 120.0
LOOK_EVERY_S = 0.1
STILL_LOOKS = 3
IDLE_S_MAX = 60.0


class ArmProcess:
    """An arm that was started."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name, self.process = name, process

    def steps(self, count: int) -> Block:
        """Run `count` steps and wait for them."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"steps": count}) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> Block:
        """The next answer. Raises SystemExit if the arm has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the arm {self.name} ended with {self.process.wait()}")
        return Block(**json.loads(line))

    def wait_until_idle(self) -> None:
        """Wait until the arm and its workers, which prefetch, use no CPU time."""
        still, before_s = 0, self._spent_s()
        deadline_s = time.monotonic() + IDLE_S_MAX
        while still < STILL_LOOKS and time.monotonic() < deadline_s:
            time.sleep(LOOK_EVERY_S)
            now_s = self._spent_s()
            still = still + 1 if now_s == before_s else 0
            before_s = now_s

    def stop(self) -> None:
        """End it, and the workers that it leaves behind, each by its own number."""
        assert self.process.stdin is not None
        workers = self._tree()[1:]
        # An arm that has ended closed the pipe already.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for worker in psutil.wait_procs(workers, timeout=END_S)[1]:
            worker.kill()

    def _tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _spent_s(self) -> float:
        """Processor time of all its processes so far."""
        spent_s = 0.0
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                spent_s += times.user + times.system
        return spent_s


@contextmanager
def running(name: str, setup: Setup) -> Iterator[ArmProcess]:
    """An arm that gets ready, of which its first answer tells; stopped at the end of the block."""
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
