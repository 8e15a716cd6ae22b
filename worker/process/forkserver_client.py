"""Client of the forkserver: start it, ask it for children, learn how they ended."""

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

import trainer.accel.openmp  # noqa: F401  # the forkserver inherits what it sets
from mocoserve.launch import module_command
from worker.process.event_pipe import MESSAGE_BYTES

FORKABLE = {
    # These start threads on import, and a process with threads must not be forked.
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    # Asking whether there is a GPU would otherwise start CUDA, which does not survive a fork.
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    # Number GPUs as NVML and nvidia-smi do; CUDA's own order is by speed.
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
}
"""Environment of the forkserver and its children."""
CLOSE_S = 5.0
"""Longest wait for a forkserver to end after its socket was closed."""


class ForkserverDied(Exception):
    """The forkserver is gone, and every child with it."""


class ForkRefused(Exception):
    """The system refused to make a process."""


@dataclass(eq=False)
class Child:
    """A forked child; it leads its own session and process group."""

    number: int
    pid: int = 0
    exit_status: int | None = None
    """Exit code, negative for the signal that ended it; None while it runs."""


def _do_nothing() -> None:
    pass


@dataclass(eq=False)
class _Start:
    """A request to fork, the child that it makes, and the monitor to wake when that child ends."""

    child: Child
    on_exit: Callable[[], None]
    started: "Future[Child]"


class _Connection:
    """One forkserver process and the thread that reads its messages."""

    def __init__(self, entry: str, preload: Sequence[str]) -> None:
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = module_command("worker.process.forkserver", str(theirs.fileno()))
        try:
            self.process = subprocess.Popen(
                [*command, entry, *preload],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ | FORKABLE,
            )
        finally:
            theirs.close()
        self._lock = threading.Lock()
        self._starts: dict[int, _Start] = {}
        self._is_over = False
        self.ready: Future[None] = Future()
        """Done when the imports are; fails with ForkserverDied if they never will be."""
        self._thread = threading.Thread(target=self._read, name="forkserver", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """True while the process runs and answers."""
        return not self._is_over and self.process.poll() is None

    def fork(self, start: _Start, request: dict[str, Any], fds: Sequence[int]) -> Child:
        """Ask for a child and wait until it is there. Raises ForkserverDied or ForkRefused."""
        number = start.child.number
        with self._lock:
            if self._is_over:
                raise ForkserverDied("the forkserver is gone")
            self._starts[number] = start
        self.send({"op": "start", "id": number, "request": request}, fds)
        return start.started.result()

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send a message with open files. Raises ForkserverDied."""
        try:
            socket.send_fds(self._sock, [json.dumps(message).encode()], list(fds))
        except OSError as error:
            raise ForkserverDied(str(error)) from error

    def close(self) -> None:
        """End the forkserver, and with it every child."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)  # wakes the reader, which close() would not
        if not self.ready.done():
            self.process.kill()  # it is still importing, and would not notice
        try:
            self.process.wait(timeout=CLOSE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._thread.join()
        self._sock.close()

    def _read(self) -> None:
        """Hand each message to whom it concerns, until the forkserver is gone."""
        reason = "the forkserver closed its socket"
        try:
            while message := self._sock.recv(MESSAGE_BYTES):
                self._handle(json.loads(message))
        except OSError as error:
            reason = str(error)
        self._end(ForkserverDied(reason))

    def _handle(self, reply: dict[str, Any]) -> None:
        if reply["op"] == "ready":
            self.ready.set_result(None)
            return
        start = self._starts[reply["id"]]
        if reply["op"] == "started":
            start.child.pid = reply["pid"]
            start.started.set_result(start.child)
        elif reply["op"] == "refused":
            self._forget(start)
            start.started.set_exception(ForkRefused(reply["error"]))
        elif reply["op"] == "exited":
            self._forget(start)
            start.child.exit_status = reply["status"]
            start.on_exit()

    def _forget(self, start: _Start) -> None:
        with self._lock:
            del self._starts[start.child.number]

    def _end(self, error: ForkserverDied) -> None:
        """Tell everyone that waits; the kernel kills a child with its parent."""
        with self._lock:
            self._is_over = True
            starts = tuple(self._starts.values())
            self._starts.clear()
        if not self.ready.done():
            self.ready.set_exception(error)
        for start in starts:
            if start.started.done():
                start.child.exit_status = -signal.SIGKILL
                start.on_exit()
            else:
                start.started.set_exception(error)


class ForkserverClient:
    """Client of one forkserver at a time; `ensure` replaces a dead one.

    `fork` and `signal` may be called from any thread. Call `ensure` and `close` from the main
    thread only: the forkserver dies with the thread that started it.
    """

    def __init__(self, entry: str, *, preload: Sequence[str] = ()) -> None:
        """`entry` is the `module:function` that a child runs; `preload` is imported before."""
        self._entry, self._preload = entry, tuple(preload)
        self._numbers = count(1)
        self._connection: _Connection | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the forkserver, None if there is none."""
        return self._connection.process.pid if self._connection else None

    def ensure(self) -> None:
        """Start a forkserver unless one is alive. Returns before its imports are done."""
        if self._connection and self._connection.is_alive:
            return
        self.close()
        self._connection = _Connection(self._entry, self._preload)

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the imports are done. Raises ForkserverDied, or TimeoutError."""
        self._connected().ready.result(timeout_s)

    def fork(
        self,
        request: dict[str, Any],
        *,
        events: int,
        control: int,
        log: int,
        on_exit: Callable[[], None] = _do_nothing,
    ) -> Child:
        """Fork a child with these open files. Raises ForkserverDied or ForkRefused.

        `on_exit` is called from another thread once the child's `exit_status` is known.
        """
        start = _Start(Child(next(self._numbers)), on_exit, Future())
        return self._connected().fork(start, request, (events, control, log))

    def signal(self, child: Child, number: int) -> None:
        """Signal the child's process group if it is alive, through the forkserver, its parent."""
        with suppress(ForkserverDied):  # then the kernel has killed the child
            self._connected().send({"op": "signal", "id": child.number, "signal": number})

    def close(self) -> None:
        """End the forkserver, and with it every child."""
        connection, self._connection = self._connection, None
        if connection:
            connection.close()

    def _connected(self) -> _Connection:
        connection = self._connection
        if connection is None:
            raise ForkserverDied("there is no forkserver")
        return connection
