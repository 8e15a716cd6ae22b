"""A whole service as users run it, and a Prometheus that scrapes it each second."""

import json
import math
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from sklearn.datasets import load_digits

from mocoserve.client import Client
from service.store.embedded.server import start_redis
from tests.support.system.processes import wait_until

ROOT = Path(__file__).resolve().parents[3]
CLI = (sys.executable, "-m", "service.cli")
START_S = 180.0


class Prometheus:
    """Asks a running Prometheus."""

    def __init__(self, port: int) -> None:
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20.0)

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        answer = self.http.get("/api/v1/query", params={"query": expr}).json()
        assert answer["status"] == "success", (expr, answer)
        result = answer["data"]["result"]
        if answer["data"]["resultType"] == "scalar":
            return [{"metric": {}, "value": result}]
        return list(result)

    def number(self, expr: str) -> float:
        """The one value of a query; 0 if there is none."""
        series = self.ask(expr)
        return float(series[0]["value"][1]) if series else 0.0

    def is_finite(self, expr: str) -> bool:
        """Return whether there is at least one series, and only finite values."""
        values = [float(row["value"][1]) for row in self.ask(expr)]
        return bool(values) and all(map(math.isfinite, values))


class Live:
    """A service with one worker for trainings and one for ingests."""

    def __init__(self, folder: Path, things: ExitStack) -> None:
        self.folder, self._things = folder, things
        self.data_dir = folder / "data"
        self.data_dir.mkdir()
        redis = start_redis(self.data_dir)
        things.callback(redis.stop)
        clean = {name: v for name, v in os.environ.items() if not name.startswith("MOCO_")}
        self.env = clean | {
            "MOCO_DATA_DIR": str(self.data_dir),
            "MOCO_REDIS_URL": redis.url,
            "OMP_NUM_THREADS": "1",
            "MOCO_THREADS": "1",
            "MOCO_COMPILE_AHEAD": "false",
            "MOCO_SCRAPE_S": "1",
        }
        up = self._start("up", [*CLI, "up", "--json", "--port", "0", "--no-worker"])
        self.url = str(json.loads(self._line(up, '"event":"ready"'))["url"])
        self.client = things.enter_context(Client(self.url, self.key))
        self.workers = [
            self._worker("tests.support.observability.fake_gpu_worker", "train"),
            self._worker("worker", "ingest"),
        ]

    @property
    def key(self) -> str:
        """The service's key."""
        return (self.data_dir / "api.key").read_text().strip()

    def moco(self, *arguments: str) -> str:
        """Return the output of a command; it must succeed."""
        done = subprocess.run(
            [*CLI, *arguments], env=self.env, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def scraped(self) -> Prometheus:
        """A Prometheus with the config that `moco export` writes, but a scrape each second."""
        out = self.folder / "prometheus"
        workers = [word for address in self.workers for word in ("--worker", address)]
        self.moco("export", "prometheus", str(out), *workers)
        config = out / "prometheus.yml"
        text = re.sub("scrape_interval: .*", "scrape_interval: 1s", config.read_text())
        text = re.sub("scrape_timeout: .*", "scrape_timeout: 1s\n  evaluation_interval: 1s", text)
        config.write_text(text)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={out / 'tsdb'}"]
        self._start("prometheus", [*command, f"--web.listen-address=127.0.0.1:{port}"])
        prometheus = Prometheus(port)
        self._things.callback(prometheus.http.close)
        wait_until(lambda: _ready(prometheus), 60.0, "Prometheus")
        # API, state exporter and workers: what a counter did before it was seen, no rate shows.
        targets = len(self.workers) + 2
        wait_until(
            lambda: prometheus.number("count(up == 1)") == targets, 60.0, "the first scrapes"
        )
        return prometheus

    def digits(self, rows: int) -> Path:
        """Write `rows` of scikit-learn's digits as PNG files, with masks of their ink.

        Each in a folder of its class, below `images` and `masks`.
        """
        from PIL import Image

        digits, labels = load_digits(return_X_y=True)
        for row in range(rows):
            pixels = (digits[row].reshape(8, 8) * 255 / 16).astype("uint8")
            image = Image.fromarray(pixels).resize((16, 16))
            mask = image.point(lambda value: int(value > 127))
            for kind, written in (("images", image), ("masks", mask)):
                folder = self.folder / "digits" / kind / str(labels[row])
                folder.mkdir(parents=True, exist_ok=True)
                written.save(folder / f"{row}.png")
        (self.folder / "digits" / "images" / "0" / "broken.png").write_text("no image")
        return self.folder / "digits"

    def _worker(self, module: str, pools: str) -> str:
        """Start a worker; the address of its `/metrics`."""
        env = {"MOCO_POOLS": pools, "MOCO_DEVICE": "cpu", "MOCO_METRICS_PORT": "0"}
        log = self._start(f"worker-{pools}", [sys.executable, "-m", module], env)
        line = self._line(log, "metrics at ")
        self._line(log, "is ready")
        match = re.search(r"metrics at http://([^/]+)/", line)
        assert match
        return match[1]

    def _start(self, name: str, command: list[str], env: dict[str, str] | None = None) -> Path:
        """Start a process that ends with this service; its log."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as opened:
            process = subprocess.Popen(
                command, env=self.env | (env or {}), cwd=ROOT, stdout=opened, stderr=opened
            )
        self._things.callback(_end, process)
        return log

    def _line(self, log: Path, word: str) -> str:
        """The first line of a log that has a word in it, as soon as it is there."""

        def lines() -> list[str]:
            return [line for line in log.read_text().splitlines() if word in line]

        wait_until(lambda: bool(lines()), START_S, log.read_text())
        return lines()[0]


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(60.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ready(prometheus: Prometheus) -> bool:
    try:
        return prometheus.http.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def running_live(folder: Path) -> Iterator[Live]:
    """Everything started, and ended in the reverse order."""
    with ExitStack() as things:
        yield Live(folder, things)


@contextmanager
def in_background(work: Callable[[], object], *, every_s: float) -> Iterator[None]:
    """Do something again and again, from a thread, while the block runs."""
    stop = threading.Event()

    def again() -> None:
        while not stop.wait(every_s):
            work()

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
