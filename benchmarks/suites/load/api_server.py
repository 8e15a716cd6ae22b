"""A real store and a real API process on loopback, in a folder of their own."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.store.embedded.server import RunningRedis, start_redis
from service.store.store import Store, open_store
from service.store.store_settings import StoreSettings

ROOT = Path(__file__).parents[3]
KEY = "moco_load_key_0123456789abcdef"
START_S = 60.0


@dataclass
class ApiServer:
    """Server, store and Redis of a load test."""

    port: int
    data_dir: Path
    redis: RunningRedis
    store: Store
    api: "subprocess.Popen[bytes]"

    def request(
        self, method: str, path: str, body: bytes = b"", *, headers: tuple[str, ...] = ()
    ) -> bytes:
        """Return the bytes of an HTTP/1.1 request."""
        lines = [f"{method} {path} HTTP/1.1", "Host: load", f"Authorization: Bearer {KEY}"]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, *headers, "", ""]).encode() + body

    def memory_mib(self) -> float:
        """Resident memory of the API process."""
        return self._status_mib("VmRSS")

    def peak_memory_mib(self) -> float:
        """Peak resident memory of the API process since `reset_peak`."""
        return self._status_mib("VmHWM")

    def reset_peak(self) -> None:
        """Reset the memory peak."""
        Path(f"/proc/{self.api.pid}/clear_refs").write_text("5")

    def cpu_s(self) -> float:
        """Processor time that the API process has used."""
        fields = Path(f"/proc/{self.api.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def open_files(self) -> int:
        """File descriptors of the API process."""
        return len(os.listdir(f"/proc/{self.api.pid}/fd"))

    def _status_mib(self, name: str) -> float:
        text = Path(f"/proc/{self.api.pid}/status").read_text()
        line = next(line for line in text.splitlines() if line.startswith(name))
        return int(line.split()[1]) / 1024


@contextmanager
def running_server(folder: Path, **environment: str) -> Iterator[ApiServer]:
    """Run both processes on `folder`; stop them afterwards."""
    data_dir = folder / "data"
    redis = start_redis(data_dir)
    store = open_store(StoreSettings(redis_url=redis.url))
    port = _free_port()
    with (folder / "api.log").open("wb") as log:
        api = subprocess.Popen(
            [sys.executable, "-m", "service"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={
                **os.environ,
                "MOCO_DATA_DIR": str(data_dir),
                "MOCO_REDIS_URL": redis.url,
                "MOCO_API_KEY": KEY,
                "MOCO_PORT": str(port),
                **environment,
            },
        )
    try:
        server = ApiServer(port, data_dir, redis, store, api)
        _wait_until_alive(server)
        yield server
    finally:
        api.terminate()
        api.wait(30.0)
        store.close()
        redis.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_alive(server: ApiServer) -> None:
    url = f"http://127.0.0.1:{server.port}/livez"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {KEY}"})
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and server.api.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=5.0):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise RuntimeError("The API did not start.")
