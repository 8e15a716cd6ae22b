"""Three scrape targets that show a job as it would run, without running one."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry

from service.observability.metric_definitions import LABEL_VALUES, Metric, Target
from service.observability.metrics import CONTENT_TYPE, METRICS, Instruments

TARGETS: tuple[Target, ...] = ("api", "worker", "state")
KEY = "a-key-of-the-test"
LABELS = {"pool": "train", "handler": "/v1/jobs", "method": "GET", "volume": "data", "gpu": "0"}


class Synthetic:
    """Every metric of the table, moving."""

    def __init__(self) -> None:
        self.instruments = {target: Instruments(CollectorRegistry(), target) for target in TARGETS}
        self.ticks = 0

    def tick(self) -> None:
        """A moment passes: counters rise, gauges swing, histograms see something."""
        self.ticks += 1
        for row in METRICS:
            for target in row.targets:
                self._move(self.instruments[target], row)

    def _move(self, instruments: Instruments, row: Metric) -> None:
        labels = {label: _value(label) for label in row.labels}
        if row.type == "counter":
            instruments.inc(row.name, 0.5, **labels)
        elif row.type == "histogram":
            instruments.observe(row.name, 0.05, **labels)
        elif row.name.endswith("_timestamp_seconds"):
            instruments.set(row.name, time.time() - 1.0, **labels)
        else:
            instruments.set(row.name, 1.5 + math.sin(self.ticks / 10), **labels)


def _value(label: str) -> str:
    known = LABEL_VALUES.get(label)
    if known and label != "status":
        return known[0]
    return LABELS.get(label, "job-1" if label == "job_id" else "200" if label == "status" else "x")


@contextmanager
def served(synthetic: Synthetic) -> Iterator[dict[Target, int]]:
    """Serve each target on a loopback port of its own, to whoever has the key."""
    servers = {
        target: ThreadingHTTPServer(("127.0.0.1", 0), _handler(synthetic.instruments[target]))
        for target in TARGETS
    }
    stop = threading.Event()

    def move() -> None:
        while not stop.wait(0.1):
            synthetic.tick()

    threads = [threading.Thread(target=server.serve_forever) for server in servers.values()]
    threads.append(threading.Thread(target=move))
    synthetic.tick()
    for thread in threads:
        thread.start()
    try:
        yield {target: int(server.server_address[1]) for target, server in servers.items()}
    finally:
        stop.set()
        for server in servers.values():
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()


def _handler(instruments: Instruments) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers.get("Authorization") == f"Bearer {KEY}"
            page = instruments.render() if allowed else b""
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler
