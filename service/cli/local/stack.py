"""The whole service on one machine: start, supervise and stop Redis, API, exporter, workers."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from mocoserve.client import Client
from mocoserve.errors import ClientError, NotAuthorised
from service.cli.exit_codes import CommandError
from service.cli.local.process import ManagedProcess
from service.server.listeners import PortTaken, bound

_READY_S = 120.0
_LOOK_EVERY_S = 0.2
_FAILURES_MAX = 2
"""Failures of one process before the stack is ready; a third try would not help."""
Notify = Callable[[str, dict[str, Any]], None]
"""Function that takes the name of an event and its details."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Addresses, key and sockets of the stack."""

    data_dir: Path
    url: str
    key: str
    metrics_urls: dict[str, str]
    listeners: dict[str, socket.socket]
    """Name of a process -> the socket that it listens on."""


class Signals:
    """Counter of SIGINT and SIGTERM: the first asks to stop, the second to hurry."""

    def __init__(self) -> None:
        """Start without any signal."""
        self.count = 0

    def __enter__(self) -> "Signals":
        self._before = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1

    def stop(self) -> bool:
        """Return whether to stop."""
        return self.count > 0

    def hurry(self) -> bool:
        """Return whether to stop at once."""
        return self.count > 1


class Stack:
    """Processes in the order they start; they stop in the reverse order."""

    def __init__(
        self,
        children: list[ManagedProcess],
        layout: Layout,
        *,
        check_redis: Callable[[], None],
        notify: Notify,
    ) -> None:
        """Take the processes; `check_redis` is called repeatedly and restarts a dead Redis."""
        self.children, self.layout, self.notify = children, layout, notify
        self._check_redis = check_redis
        self._slots: dict[str, dict[str, Any]] = {}
        self._workers = [child for child in children if child.plan.name.startswith("worker")]

    def run(self, signals: Signals) -> None:
        """Start, report `ready`, supervise until a signal, stop.

        Raises:
            CommandError: a child cannot be started; the others are stopped again.
        """
        try:
            for child in self.children:
                child.start()
            self._await_ready(signals)
            if not signals.stop():
                with _announced(self.layout):
                    self.notify("ready", self._ready_facts())
                    while not signals.stop():
                        self._look()
                        time.sleep(_LOOK_EVERY_S)
        finally:
            self._stop(signals)

    def _await_ready(self, signals: Signals) -> None:
        end_s = time.monotonic() + _READY_S
        with Client(self.layout.url, self.layout.key, tries=1, timeout_s=2.0) as client:
            while not signals.stop() and not self._is_ready(client):
                self._look()
                for child in self.children:
                    if child.failures >= _FAILURES_MAX or child.done:
                        raise _cannot_start(child)
                if time.monotonic() > end_s:
                    raise CommandError(
                        f"The service did not become ready within {_READY_S:g} s",
                        detail=f"Logs are in {self.children[0].log.parent}.",
                        hint="Check the logs, then try again.",
                    )
                time.sleep(_LOOK_EVERY_S)

    def _is_ready(self, client: Client) -> bool:
        try:
            client.ready()
            records = {worker.pid: worker for worker in client.workers()}
            if not all(child.pid in records for child in self._workers):
                return False
            for child in self._workers:
                record = records[child.pid]
                self._slots[child.plan.name] = {"number": record.slots, "device": record.device}
            return True
        except NotAuthorised as error:
            raise CommandError(
                f"Another service is running at {self.layout.url}",
                detail="It rejects the key of this data folder.",
                hint="Stop it, or choose another --port; 0 picks a free one.",
            ) from error
        except ClientError:
            return False

    def _look(self) -> None:
        self._check_redis()
        for child in self.children:
            starts = child.starts
            code = child.look()
            if code is not None:
                facts = {"name": child.plan.name, "code": code, "log": str(child.log)}
                if child.done:
                    self.notify("ended", facts)
                else:
                    self.notify("crashed", {**facts, "again_in_s": child.pause_s})
            elif child.starts > starts:
                self.notify("restarted", {"name": child.plan.name, "pid": child.pid})

    def _stop(self, signals: Signals) -> None:
        """Stop the workers first, all at once, so that they save; then what they need."""
        self.notify("stopping", {})
        for child in self._workers:
            child.ask_to_stop()
        others = [child for child in reversed(self.children) if child not in self._workers]
        for child in (*self._workers, *others):
            child.ask_to_stop()
            if not child.wait_stopped(hurry=signals.hurry):
                self.notify("killed", {"name": child.plan.name})

    def _ready_facts(self) -> dict[str, Any]:
        return {
            "url": self.layout.url,
            "key_file": _where("MOCO_API_KEY", self.layout.data_dir / "api.key"),
            "read_key_file": _where("MOCO_READ_KEY", self.layout.data_dir / "read.key"),
            "data_dir": str(self.layout.data_dir),
            "metrics": self.layout.metrics_urls,
            "slots": self._slots,
            "pids": {child.plan.name: child.pid for child in self.children},
        }


def _where(variable: str, path: Path) -> str:
    """Return what holds a key: the variable, if it is set, else the file."""
    return variable if os.environ.get(variable) else str(path)


def loopback_listener(preferred: int = 0) -> socket.socket:
    """Return a socket that listens on loopback, on port `preferred` or else on a free one.

    It is ours from then on: a process that is handed it cannot find its port taken.
    """
    for port in (preferred, 0):
        with suppress(PortTaken):
            return bound("127.0.0.1", port, variable="--port")
    raise CommandError(
        "No port is free on 127.0.0.1", hint="Stop a program that is listening there."
    )


def port_of(listener: socket.socket) -> int:
    """Return the port that a socket is bound to."""
    return int(listener.getsockname()[1])


def is_free(port: int) -> bool:
    """Return whether nothing listens on this port of loopback."""
    with loopback_listener(port) as listener:
        return port_of(listener) == port


@contextmanager
def _announced(layout: Layout) -> Iterator[None]:
    """Write `server.json` while the stack runs, so that `moco` finds it."""
    path = layout.data_dir / "server.json"
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    facts = {"url": layout.url, "pid": os.getpid(), "metrics": layout.metrics_urls}
    draft.write_text(json.dumps(facts) + "\n", "utf-8")
    draft.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _cannot_start(child: ManagedProcess) -> CommandError:
    words = "\n  ".join(child.log_tail())
    return CommandError(
        f"{child.plan.name} failed to start",
        detail=f"Last lines of {child.log}:\n  {words}",
        hint="`moco doctor` checks the requirements.",
    )
