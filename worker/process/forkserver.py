"""Forkserver: a process that imports torch once and never makes a CUDA context or a thread.

A child that it forks trains 15 ms later, where a fresh interpreter would import for seconds.
Requests are JSON, one message a packet, with the child's open files beside it (`socket.send_fds`);
nothing is unpickled. It exits with its supervisor, and so do its children: the kernel kills each
when its parent dies, and end of file on the socket says the same.

Run as `python -m worker.process.forkserver SOCKET_FD module:function [module to import first ...]`.
If the module has a function `warm`, that is called once, before any fork. Modules that it names in
`LATER` are imported while the forkserver is idle; until then a child imports what it needs itself.
"""

import faulthandler
import fcntl
import gc
import importlib
import io
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from trainer.util.parent_death import die_with
from worker.process.event_pipe import MESSAGE_BYTES

Entry = Callable[[dict[str, Any], int, int], None]
"""Function that a child runs: (request, fd to write events to, fd to read commands from)."""

EVENTS_FD, CONTROL_FD = 3, 4
IDLE_S = 0.5


class Forkserver:
    """Server that forks children on request and reports how each ended."""

    def __init__(self, sock: socket.socket, entry: Entry) -> None:
        self._sock, self._entry = sock, entry
        self._children: dict[int, int] = {}  # pid -> id that the supervisor gave it
        self._pidfds: dict[int, int] = {}  # pidfd -> pid
        self._selector = selectors.DefaultSelector()
        self._selector.register(sock, selectors.EVENT_READ)

    def serve(self, *, later: Sequence[str] = ()) -> None:
        """Answer the supervisor until it leaves; then kill the remaining children.

        `later` are modules to import while there is no request and no child.
        """
        rest = list(later)
        try:
            self._send({"op": "ready", "pid": os.getpid()})
            while self._import_while_idle(rest) or self._handle_ready():
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass  # the supervisor died between a message and its answer
        for pid in self._children:
            _kill_group(pid, signal.SIGKILL)

    def _import_while_idle(self, rest: list[str]) -> bool:
        """Import one module if there is no child and no request; return whether it did."""
        if not rest or self._children or self._selector.select(IDLE_S):
            return False
        _preload(rest.pop(0))
        return True

    def _handle_ready(self) -> bool:
        """Handle what is ready; return False when the supervisor is gone."""
        for key, _ in self._selector.select():
            if key.fileobj is self._sock:
                if not self._receive():
                    return False
            else:
                self._reap(key.fd)
        return True

    def _receive(self) -> bool:
        message, fds, _, _ = socket.recv_fds(self._sock, MESSAGE_BYTES, 3)
        if not message:
            return False
        values = json.loads(message)
        if values["op"] == "start":
            self._start(values["id"], values["request"], fds)
        elif values["op"] == "signal":
            for pid, child in self._children.items():
                if child == values["id"]:
                    _kill_group(pid, values["signal"])
        return True

    def _start(self, child: int, request: dict[str, Any], fds: list[int]) -> None:
        """Fork a child; `fds` are its event pipe, control pipe and log."""
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._send({"op": "refused", "id": child, "error": str(error)})
            return
        if pid == 0:
            _become_child(self._entry, request, fds, parent)
        for fd in fds:
            os.close(fd)
        pidfd = os.pidfd_open(pid)
        self._children[pid], self._pidfds[pidfd] = child, pid
        self._selector.register(pidfd, selectors.EVENT_READ)
        self._send({"op": "started", "id": child, "pid": pid})

    def _reap(self, pidfd: int) -> None:
        """Kill what the child left running while its pid cannot be reused; then wait for it."""
        pid = self._pidfds.pop(pidfd)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        _kill_group(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        child = self._children.pop(pid)
        self._send({"op": "exited", "id": child, "status": os.waitstatus_to_exitcode(status)})

    def _send(self, message: dict[str, Any]) -> None:
        self._sock.send(json.dumps(message).encode())


def _kill_group(pid: int, number: int) -> None:
    """Signal the group of a child not yet waited for, or the child itself before its setsid."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, number)
        except ProcessLookupError:
            continue
        return


def _become_child(entry: Entry, request: dict[str, Any], fds: list[int], parent: int) -> None:
    """In the fork: make a session, keep only the child's files, then work. Never returns."""
    code = 1
    try:
        os.setsid()
        die_with(parent)
        os.environ.update(request.get("environment", {}))
        _keep_only(*fds)
        sys.stdout = _log(1)
        sys.stderr = _log(2)
        entry(request, EVENTS_FD, CONTROL_FD)
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:  # only the log can record this
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _LossyLog(io.FileIO):
    """Log that drops text on a full disk, so that the work continues."""

    def write(self, data: Any) -> int:  # noqa: ANN401  # any buffer
        """Write, and report success in any case."""
        with suppress(OSError):
            super().write(data)
        return len(data)


def _log(fd: int) -> io.TextIOWrapper:
    """Return a line-buffered text file on `fd`."""
    file = io.BufferedWriter(_LossyLog(fd, "w", closefd=False))
    return io.TextIOWrapper(file, "utf-8", errors="backslashreplace", line_buffering=True)


def _keep_only(events: int, control: int, log: int) -> None:
    """Put events at 3, commands at 4 and the log at 1 and 2; close all other descriptors."""
    free = CONTROL_FD + 1  # above every number that is about to be overwritten
    events, control, log = (fcntl.fcntl(fd, fcntl.F_DUPFD, free) for fd in (events, control, log))
    for fd, target in ((log, 1), (log, 2), (events, EVENTS_FD), (control, CONTROL_FD)):
        os.dup2(fd, target, inheritable=target <= 2)
    os.closerange(CONTROL_FD + 1, os.sysconf("SC_OPEN_MAX"))


def _preload(*modules: str) -> None:
    for name in modules:
        importlib.import_module(name)
    _check_forkable()
    _freeze_heap()


def _check_forkable() -> None:
    """Raise RuntimeError if an import has started CUDA, which does not survive a fork."""
    cuda = sys.modules.get("torch.cuda")
    if cuda and cuda.is_initialized():
        raise RuntimeError("an import has started CUDA, which does not survive a fork")


def _freeze_heap() -> None:
    gc.collect()
    gc.freeze()  # a collection in a child then leaves these pages shared


def main(arguments: list[str]) -> None:
    """Import what the children need, then serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor alone
    die_with(os.getppid())
    sock = socket.socket(fileno=int(arguments[0]))
    sock.set_inheritable(False)
    module, _, function = arguments[1].partition(":")
    _preload(*arguments[2:])
    imported = importlib.import_module(module)
    entry = getattr(imported, function)
    getattr(imported, "warm", lambda: None)()
    _check_forkable()
    faulthandler.enable()
    _freeze_heap()
    Forkserver(sock, entry).serve(later=getattr(imported, "LATER", ()))
    os._exit(0)  # skip the exit handlers of torch


if __name__ == "__main__":
    main(sys.argv[1:])
