"""One process that `moco up` runs: its log, its exit, its restarts.

A child gets its own session, so Ctrl-C reaches only `moco up`, which stops them in order; and
the kernel sends it SIGTERM if `moco up` itself dies.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mocoserve.launch import module_command
from trainer.util.parent_death import die_with

LOG_BYTES_MAX = 16 << 20
_STEADY_S = 60.0
"""A process that has run this long has recovered from its last failure."""
_PAUSE_S_MAX = 30.0


@dataclass(frozen=True, kw_only=True)
class ProcessPlan:
    """Command, environment and socket of a process."""

    name: str
    arguments: tuple[str, ...]
    """A module of ours and its arguments."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables added to the environment of `moco up`."""
    listener: socket.socket | None = None
    """Bound socket that the process listens on."""
    grace_s: float = 10.0
    """Time between SIGTERM and SIGKILL."""


class ManagedProcess:
    """Process that is restarted when it fails."""

    def __init__(
        self, plan: ProcessPlan, log_dir: Path, *, log_bytes_max: int = LOG_BYTES_MAX
    ) -> None:
        """Prepare a process without starting it; its output goes to `log_dir`/<name>.log."""
        self._log_bytes_max = log_bytes_max
        self.plan, self.log = plan, log_dir / f"{plan.name}.log"
        self.starts, self.failures = 0, 0
        self.done = False
        """True if it exited with code 0 or was asked to stop, and is not restarted."""
        self._process: subprocess.Popen[bytes] | None = None
        self._started_s = self._again_s = 0.0
        self._begun_at = 0

    @property
    def pid(self) -> int | None:
        """Process id, None while it is not running."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process now."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._rotate()
        with self.log.open("ab") as log:
            self._begun_at = log.tell()
            self._process = subprocess.Popen(
                module_command(*self.plan.arguments),
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.plan.env, **self._listen_env},
                pass_fds=[listener.fileno()] if (listener := self.plan.listener) else [],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=partial(die_with, os.getpid(), signal.SIGTERM),  # noqa: PLW1509 - this process has no threads
            )
        self.starts += 1
        self._started_s = time.monotonic()

    @property
    def _listen_env(self) -> dict[str, str]:
        listener = self.plan.listener
        return {} if listener is None else {"MOCO_LISTEN_FD": str(listener.fileno())}

    def look(self) -> int | None:
        """Return the exit code if it ended since the last call; restart it when it is time."""
        self._rotate()
        if self.done:
            return None
        if self._process is None:
            if time.monotonic() >= self._again_s:
                self.start()
            return None
        code = self._process.poll()
        if code is None:
            return None
        self._process, self.done = None, code == 0
        lived_s = time.monotonic() - self._started_s
        self.failures = 1 if lived_s > _STEADY_S else self.failures + 1
        self._again_s = time.monotonic() + self.pause_s
        return code

    def _rotate(self) -> None:
        """Copy a log that is too large aside and empty it; the process appends to the same file."""
        try:
            if self.log.stat().st_size <= self._log_bytes_max:
                return
            shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            os.truncate(self.log, 0)
        except OSError:  # there is none yet, or the disk is full; what is in it stays
            return

    @property
    def pause_s(self) -> float:
        """Seconds before the next start: 0.5, 1, 2 ... 30."""
        return float(min(_PAUSE_S_MAX, 0.25 * 2.0**self.failures))

    def ask_to_stop(self) -> None:
        """Send SIGTERM if it is running."""
        self.done = True
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait_stopped(self, *, hurry: Callable[[], bool]) -> bool:
        """Wait for its exit; kill it after its grace or on `hurry`. False if it was killed."""
        if self._process is None:
            return True
        end_s = time.monotonic() + self.plan.grace_s
        while self._process.poll() is None:
            if time.monotonic() >= end_s or hurry():
                self._process.kill()
                self._process.wait()
                return False
            time.sleep(0.02)
        return True

    def log_tail(self, lines: int = 12) -> list[str]:
        """Return the end of its log since its last start; for a stack trace, only the last line."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(self._begun_at, log.seek(0, os.SEEK_END) - 8192))
                output = log.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return []
        if any(line.startswith("Traceback") for line in output):
            output = [line for line in output if line and not line.startswith((" ", "Traceback"))][
                -1:
            ]
        return output[-lines:]
