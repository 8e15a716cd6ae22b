"""A whole mocoserve whose every part may be killed: who keeps it running, and how it is reached."""

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from mocoserve.client import Client
from mocoserve.errors import ClientError
from mocoserve.sources import FileSource
from service.store.embedded.server import start_redis
from tests.support.chaos.proxy import Proxy
from tests.support.data.images import encoded, write_zip
from tests.support.data.tiny_pack import blobs
from tests.support.service.api import KEY
from tests.support.system.processes import children_of
from tests.support.worker.stack import ROOT, Stack, WorkerProcess, running_stack

SHORT = {"MOCO_TICK_S": "0.2", "MOCO_LEASE_TTL_TICKS": "15", "MOCO_RENEW_EVERY_S": "0.5"}
"""Leases of 3 s instead of 15 s, so that more faults fit into the time."""
LOOK_EVERY_S = 0.05
START_S = 60.0


@dataclass
class World:
    """Redis behind a proxy, an API behind another, and so many workers; the dead are replaced."""

    stack: Stack
    redis_proxy: Proxy
    api_proxy: Proxy
    faults_log: Path
    worker_faults: str = ""
    api_faults: str = ""
    seed: int = 0
    slots: list[WorkerProcess] = field(default_factory=list)
    api: "subprocess.Popen[bytes] | None" = None
    redis_may_die: threading.RLock = field(default_factory=threading.RLock)
    _starts: int = 0
    _leaving: threading.Event = field(default_factory=threading.Event)

    @property
    def data_dir(self) -> Path:
        return self.stack.data_dir

    @property
    def redis_url(self) -> str:
        """Through the proxy."""
        password = urlsplit(self.stack.redis.url).password
        return f"redis://:{password}@127.0.0.1:{self.redis_proxy.port}/0"

    def client(self, *, tries: int = 6) -> Client:
        """The typed client, through the proxy; it tries again by itself."""
        return Client(f"http://127.0.0.1:{self.api_proxy.port}", KEY, timeout_s=10.0, tries=tries)

    def need_workers(self, count: int) -> None:
        """Keep `count` workers from now on; dead ones are replaced."""
        while len(self.slots) < count:
            self.slots.append(self._worker())
        del self.slots[count:]

    def wait_warm(self) -> None:
        """Until every worker can fork."""
        for worker in self.slots:
            self.stack.warm(worker)

    def keep(self) -> None:
        """Replace what died, until `leave`. For a thread of its own."""
        while not self._leaving.wait(LOOK_EVERY_S):
            if self.api is None or self.api.poll() is not None:
                self.api = self._api()
            for place, worker in enumerate(self.slots):
                if worker.process.poll() is not None:
                    self.slots[place] = self._worker()

    def leave(self) -> None:
        """Replace nothing any more."""
        self._leaving.set()

    def calm(self) -> None:
        """No more failpoints: every process that has some is killed, and replaced without."""
        self.worker_faults = self.api_faults = ""
        for worker in self.slots:
            worker.process.kill()
        if self.api:
            self.api.kill()

    def kill_redis(self, away_s: float) -> None:
        """SIGKILL, and a new server on the same files after a while."""
        with self.redis_may_die:
            os.kill(self.stack.redis.pid, signal.SIGKILL)
            self.stack.redis.stop()
            time.sleep(away_s)
            self.stack.redis = start_redis(self.data_dir)

    def stop_redis(self, hung_s: float) -> None:
        """SIGSTOP for a while."""
        with self.redis_may_die:
            os.kill(self.stack.redis.pid, signal.SIGSTOP)
            time.sleep(hung_s)
            os.kill(self.stack.redis.pid, signal.SIGCONT)

    def families(self) -> list[tuple[WorkerProcess, int, list[int]]]:
        """Each worker that trains: itself, its forkserver, its children and their ranks."""
        trees = []
        for worker in list(self.slots):
            with contextlib.suppress(OSError, ValueError):
                (forkserver,) = children_of(worker.pid)
                children = children_of(forkserver)
                children += [rank for child in children for rank in children_of(child)]
                if children:
                    trees.append((worker, forkserver, children))
        return trees

    def add_dataset(self, client: Client, name: str) -> str:
        """Upload 80 small images of four classes, always the same; the id, maybe not ready yet."""
        images, labels = blobs(80, side_px=8, classes=4)
        files = {
            f"{label}/{row:03d}.png": encoded(Image.fromarray(pixels))
            for row, (pixels, label) in enumerate(zip(images, labels, strict=True))
        }
        path = write_zip(self.data_dir.parent / f"{name}.zip", files)
        dataset_id: str = insist(lambda: _made(client, name, path))
        insist(lambda: client.datasets.upload(dataset_id, FileSource(path)))
        return dataset_id

    def operator_environment(self) -> dict[str, str]:
        """Return the environment of an operator who runs `moco` on this machine."""
        return {
            **os.environ,
            "MOCO_DATA_DIR": str(self.data_dir),
            "MOCO_REDIS_URL": self.stack.redis.url,
            "MOCO_URL": f"http://127.0.0.1:{self.api_proxy.port}",
            "MOCO_API_KEY": KEY,
        }

    def _worker(self) -> WorkerProcess:
        self._starts += 1
        faults = {
            "MOCO_FAILPOINTS": self.worker_faults,
            "MOCO_FAILPOINTS_LOG": str(self.faults_log),
            "MOCO_FAILPOINTS_SEED": f"{self.seed}-{self._starts}",
        }
        return self.stack.start_worker(MOCO_REDIS_URL=self.redis_url, **faults)

    def _api(self) -> "subprocess.Popen[bytes]":
        self._starts += 1
        assert isinstance(self.api_proxy.target, int)
        environment = {
            **os.environ,
            **self.stack.environment,
            "MOCO_DATA_DIR": str(self.data_dir),
            "MOCO_REDIS_URL": self.redis_url,
            "MOCO_PORT": str(self.api_proxy.target),
            "MOCO_API_KEY": KEY,
            "MOCO_FAILPOINTS": self.api_faults,
            "MOCO_FAILPOINTS_LOG": str(self.faults_log),
            "MOCO_FAILPOINTS_SEED": f"{self.seed}-api-{self._starts}",
        }
        with (self.data_dir / "api.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "service"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


@contextlib.contextmanager
def running_world(
    folder: Path, *, workers: int, environment: Mapping[str, str], seed: int = 0
) -> Iterator[World]:
    """A world in `folder`; every process it started has ended afterwards."""
    with running_stack(folder, **environment) as stack:
        address = urlsplit(stack.redis.url)
        redis_proxy = Proxy(address.port or Path(address.path))
        api_proxy = Proxy(_free_port())
        world = World(stack, redis_proxy, api_proxy, folder / "faults.jsonl", seed=seed)
        checkpoint_manager = threading.Thread(target=world.keep, name="keeper", daemon=True)
        checkpoint_manager.start()
        try:
            world.need_workers(workers)
            _await_api(world)
            yield world
        finally:
            world.leave()
            checkpoint_manager.join(10)
            if world.api:
                world.api.kill()
                world.api.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.kill(stack.redis.pid, signal.SIGCONT)
            redis_proxy.close()
            api_proxy.close()


def insist(do: Callable[[], Any]) -> Any:  # noqa: ANN401  # what `do` answers
    """Call `do` until it works, as a user's script would."""
    while True:
        try:
            return do()
        except ClientError:
            time.sleep(0.2)


def _made(client: Client, name: str, path: Path) -> str:
    """The id. The name is ours: if it is taken, then by a request whose reply was lost."""
    known = client.datasets.find(name)
    if known:
        return known.id
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return client.datasets.create(name, size_bytes=path.stat().st_size, sha256=sha256).id


def _await_api(world: World) -> None:
    until_s = time.monotonic() + START_S
    with world.client() as client:
        while True:
            try:
                return client.ready()
            except ClientError as error:
                if time.monotonic() > until_s:
                    log = world.data_dir / "api.log"
                    words = log.read_text() if log.exists() else ""
                    raise AssertionError(f"no API within {START_S} s: {words}") from error
                time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
