"""Client of the forkserver: start it, ask it for children, learn how they ended."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Sequence
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


class ForkserverDied(Exception):
    """The forkserver is gone, and every child with it."""


class ForkRefused(Exception):
    """The system refused to make a process."""


@dataclass(frozen=True)
class Child:
    """A forked child; it leads its own session and process group."""

    number: int
    pid: int


class ForkserverClient:
    """Client of one forkserver at a time; `ensure` replaces a dead one.

    Call it from the main thread only: the forkserver dies with the thread that started it.
    """

    def __init__(self, entry: str, *, preload: Sequence[str] = ()) -> None:
        """`entry` is the `module:function` that a child runs; `preload` is imported before."""
        self._entry, self._preload = entry, tuple(preload)
        self._numbers = count(1)
        self._exits: dict[int, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None
        self._ready = False

    @property
    def pid(self) -> int | None:
        """Process id of the forkserver, None if there is none."""
        return self._process.pid if self._process else None

    @property
    def is_ready(self) -> bool:
        """True if the imports are done."""
        return self._ready

    def fileno(self) -> int:
        """Return the socket's descriptor, readable when there are messages; `ensure` changes it."""
        return self._socket().fileno()

    def ensure(self) -> None:
        """Start a forkserver unless one is alive. Returns before its imports are done."""
        if self._process and self._process.poll() is None and self._sock:
            return
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = module_command("worker.process.forkserver", str(theirs.fileno()))
        try:
            self._process = subprocess.Popen(
                [*command, self._entry, *self._preload],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ | FORKABLE,
            )
        finally:
            theirs.close()
        self._sock, self._ready = ours, False

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the imports are done. Raises ForkserverDied, or TimeoutError."""
        deadline_s = time.monotonic() + timeout_s
        while not self._ready:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"the forkserver has not imported torch within {timeout_s} s")
            self._receive(left_s)

    def fork(self, request: dict[str, Any], *, events: int, control: int, log: int) -> Child:
        """Fork a child with these open files. Raises ForkserverDied or ForkRefused."""
        number = next(self._numbers)
        message = json.dumps({"op": "start", "id": number, "request": request}).encode()
        self._send(message, [events, control, log])
        while True:
            reply = self._receive(None)
            if reply and reply.get("id") == number and reply["op"] == "started":
                return Child(number, reply["pid"])
            if reply and reply.get("id") == number and reply["op"] == "refused":
                raise ForkRefused(reply["error"])

    def signal(self, child: Child, number: int) -> None:
        """Signal the child's process group if it is alive, through the forkserver, its parent."""
        try:
            self._send(json.dumps({"op": "signal", "id": child.number, "signal": number}).encode())
        except ForkserverDied:
            return  # then the kernel has killed the child

    def poll(self) -> None:
        """Read the messages of the forkserver without waiting. Raises ForkserverDied."""
        while self._receive(0.0):
            pass

    def exit_status(self, child: Child) -> int | None:
        """Return a child's exit code, negative for the signal that ended it; None while it runs."""
        return self._exits.get(child.number)

    def forget(self, child: Child) -> None:
        """Drop the exit status of a child that has been handled."""
        self._exits.pop(child.number, None)

    def close(self) -> None:
        """End the forkserver, and with it every child."""
        if self._sock:
            self._sock.close()
        if self._process:
            if not self._ready:
                self._process.kill()  # it is still importing, and would not notice
            try:
                self._process.wait(timeout=5.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._sock, self._process, self._ready = None, None, False

    def _socket(self) -> socket.socket:
        if self._sock is None:
            raise ForkserverDied("there is no forkserver")
        return self._sock

    def _send(self, message: bytes, fds: Sequence[int] = ()) -> None:
        sock = self._socket()
        sock.settimeout(None)
        try:
            socket.send_fds(sock, [message], list(fds))
        except OSError as error:
            raise ForkserverDied(str(error)) from error

    def _receive(self, timeout_s: float | None) -> dict[str, Any] | None:
        """Return one message, or None after the timeout. Exits are kept for `exit_status`."""
        sock = self._socket()
        sock.settimeout(timeout_s)
        try:
            message = sock.recv(MESSAGE_BYTES)
        except (TimeoutError, BlockingIOError):
            return None
        except OSError as error:
            raise ForkserverDied(str(error)) from error
        if not message:
            raise ForkserverDied("the forkserver closed its socket")
        reply: dict[str, Any] = json.loads(message)
        if reply["op"] == "ready":
            self._ready = True
        elif reply["op"] == "exited":
            self._exits[reply["id"]] = reply["status"]
        return reply
