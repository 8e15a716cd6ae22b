"""A `moco up` that runs, as a user starts it, and the commands that a user types beside it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

CLI = [sys.executable, "-m", "service.cli"]


class Up:
    """A running `moco up`, and the events it told."""

    def __init__(self, data_dir: Path, *options: str, **variables: str) -> None:
        """`options` name no device: it trains on the CPU unless MOCO_DEVICE says otherwise."""
        self.data_dir = data_dir
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("MOCO_")}
        self.env |= {"MOCO_DATA_DIR": str(data_dir), "OMP_NUM_THREADS": "1", "MOCO_THREADS": "1"}
        self.env |= {"MOCO_COMPILE_AHEAD": "false"}  # longer than the trainings
        self.env |= {"MOCO_DEVICE": "cpu", **variables}
        self.process = subprocess.Popen(
            [*CLI, "up", "--json", "--port", "0", *options],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def next(self, event: str) -> dict[str, Any]:
        """The next event of this name."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message: dict[str, Any] = json.loads(line)
            if message["event"] == event:
                return message
        assert self.process.stderr is not None
        raise AssertionError(self.process.stderr.read())

    def moco(self, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [*CLI, *arguments], env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    def everyone(self) -> list[psutil.Process]:
        """It, its children, and theirs."""
        me = psutil.Process(self.process.pid)
        return [me, *me.children(recursive=True)]

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise


def images(folder: Path) -> Path:
    """Two classes of 24 images each."""
    numbers = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for i in range(24):
            pixels = numbers.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i}.png")
    (folder / "cat" / "broken.png").write_text("no image")
    return folder
