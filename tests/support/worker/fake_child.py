"""Children that a forkserver can fork without torch: real processes, each with one habit."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.schema.events import Ended, Event, Logged, Stepped
from worker.process.event_pipe import Emitter, listen

FOREVER_S = 60.0
LATER = ("colorsys", "nturl2path")
"""Modules of the standard library that nothing here uses."""


def run(orders: dict[str, Any], events: int, control: int) -> None:
    """Behave as `orders["kind"]` says."""
    HABITS[orders["kind"]](orders, events, control)


def _stepped(step: int) -> Event:
    return Stepped(step=step, epoch=step / 10, signals={"loss": 1.0 / step})


def _obeys(orders: dict[str, Any], events: int, control: int) -> None:
    """Trains until it is told to stop, then says so and leaves."""
    stop, emit = listen(control), Emitter(events)
    step = 0
    while not stop.is_set():
        step += 1
        emit(_stepped(step))
        stop.wait(0.01)
    ended = Ended(outcome="stopped", code="stopped", step=step)
    Path(orders["out"], "result.json").write_text(ended.model_dump_json())
    emit(ended)


def _deaf(orders: dict[str, Any], events: int, control: int) -> None:
    """Does not hear `stop`, but leaves on SIGTERM with its files closed."""
    listen(control)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
    Emitter(events)(_stepped(1))
    try:
        time.sleep(FOREVER_S)
    finally:
        Path(orders["out"], "closed").touch()


def _stubborn(orders: dict[str, Any], events: int, control: int) -> None:
    """Ignores everything that can be ignored."""
    listen(control)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Emitter(events)(_stepped(1))
    time.sleep(FOREVER_S)


def _babbles(orders: dict[str, Any], events: int, control: int) -> None:
    """Writes an event between lines that are none, and cuts one in two."""
    line = _stepped(7).model_dump_json().encode()
    for data in (b"Segfault?\n", b"{}\n\n", b'\xff\xfe{"type":1}\n', line[:9], line[9:] + b"\n"):
        os.write(events, data)
        time.sleep(0.02)
    os.write(events, b"x" * 30)  # and a last word without an end


def _floods(orders: dict[str, Any], events: int, control: int) -> None:
    """Says more than the pipe holds."""
    emit = Emitter(events)
    for number in range(orders["lines"]):
        emit(Logged(message=f"{number:06d} " + "-" * 500))


def _crashes(orders: dict[str, Any], events: int, control: int) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _raises(orders: dict[str, Any], events: int, control: int) -> None:
    sys.stdout.write("about to raise\n")
    raise RuntimeError("a defect")


def _chatters(orders: dict[str, Any], events: int, control: int) -> None:
    """Says much to its log, then tells that it got so far."""
    for number in range(1000):
        sys.stdout.write(f"{number} {'-' * 100}\n")
        sys.stderr.write(f"{number}\n")
    Emitter(events)(Logged(message="still here"))


def _parent(orders: dict[str, Any], events: int, control: int) -> None:
    """Leaves a process of its own behind."""
    grandchild = subprocess.Popen(["sleep", str(FOREVER_S)])
    Path(orders["out"], "grandchild").write_text(str(grandchild.pid))


def _tells(orders: dict[str, Any], events: int, control: int) -> None:
    """Writes down what it was given: its open files, session, threads and signal handling."""
    files = sorted(int(name) for name in os.listdir("/proc/self/fd"))
    state = {
        "fds": [fd for fd in files if os.path.exists(f"/proc/self/fd/{fd}")],
        "leads": os.getsid(0) == os.getpid() == os.getpgid(0),
        "parent": os.getppid(),
        "threads": len(os.listdir("/proc/self/task")),
    }
    Emitter(events)(Logged(message=repr(state)))


def _knows(orders: dict[str, Any], events: int, control: int) -> None:
    """Tells which of the modules for later it was born with."""
    Emitter(events)(Logged(message=" ".join(name for name in LATER if name in sys.modules)))


def _variables(orders: dict[str, Any], events: int, control: int) -> None:
    """Tells which GPUs it may see."""
    Emitter(events)(Logged(message=str(os.environ.get("CUDA_VISIBLE_DEVICES"))))


def _exits(orders: dict[str, Any], events: int, control: int) -> None:
    sys.exit(int(orders["code"]))


HABITS: dict[str, Callable[[dict[str, Any], int, int], None]] = {
    "obeys": _obeys,
    "deaf": _deaf,
    "stubborn": _stubborn,
    "babbles": _babbles,
    "floods": _floods,
    "crashes": _crashes,
    "raises": _raises,
    "chatters": _chatters,
    "parent": _parent,
    "tells": _tells,
    "knows": _knows,
    "variables": _variables,
    "exits": _exits,
}
