"""Faults done to a running world from outside, by name."""

import contextlib
import os
import random
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from service.store.store_errors import StoreError
from tests.support.chaos.proxy import Toxic
from tests.support.chaos.world import World
from tests.support.worker.stack import WorkerProcess
from trainer.util.atomic_files import MANIFEST

ZOMBIE_S = 12.0
"""A stopped worker is woken at the latest then, whether its job was taken over or not."""
SMALL_FILE_BYTES = 4096


class NothingToBreak(Exception):
    """The fault needs something that is not there just now: draw another."""


@dataclass
class Faults:
    """Draws faults, does them, and counts what was done."""

    world: World
    rng: random.Random
    done: Counter[str] = field(default_factory=Counter)
    damaged_jobs: set[str] = field(default_factory=set)
    """Jobs of which a checkpoint was damaged: no second one is, so that one can be resumed from."""
    damaged: set[str] = field(default_factory=set)
    """Damaged files as `moco admin verify` names them: paths relative to the data folder."""
    _zombies: list[threading.Thread] = field(default_factory=list)

    def strike(self) -> None:
        """One fault, drawn by its weight."""
        while True:
            names, weights = zip(*WEIGHTS.items(), strict=True)
            (name,) = self.rng.choices(names, weights)
            try:
                FAULTS[name](self)
            except (NothingToBreak, OSError):
                time.sleep(0.05)
                continue
            self.done[name] += 1
            return

    def wait_for_zombies(self) -> None:
        """Until every stopped process was woken again."""
        for thread in self._zombies:
            thread.join(ZOMBIE_S + 5.0)

    def kill_child(self) -> None:
        """SIGKILL of a training process, anywhere."""
        _, _, children = self._family()
        os.kill(self.rng.choice(children), signal.SIGKILL)

    def kill_forkserver(self) -> None:
        """SIGKILL of a forkserver: its child dies with it."""
        _, forkserver, _ = self._family()
        os.kill(forkserver, signal.SIGKILL)

    def kill_worker(self) -> None:
        """SIGKILL of a supervisor: the kernel kills what it started."""
        worker, _, _ = self._family()
        worker.process.kill()

    def end_worker(self) -> None:
        """SIGTERM: it hands its job over, leaves, and is replaced."""
        worker, _, _ = self._family()
        worker.signal(signal.SIGTERM)

    def stop_worker(self) -> None:
        """SIGSTOP of a supervisor, with or without its child, until its job was taken over."""
        worker, forkserver, children = self._family()
        pids = [worker.pid]
        if self.rng.random() < 0.5:
            pids += [forkserver, *children]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        thread = threading.Thread(target=self._wake, args=(worker.pid, pids), daemon=True)
        self._zombies.append(thread)
        thread.start()

    def kill_api(self) -> None:
        """SIGKILL of the API."""
        if self.world.api is None or self.world.api.poll() is not None:
            raise NothingToBreak
        self.world.api.kill()

    def kill_redis(self) -> None:
        """SIGKILL of Redis, which is away for up to two seconds."""
        self.world.kill_redis(self.rng.uniform(0.0, 2.0))

    def hang_redis(self) -> None:
        """SIGSTOP of Redis, longer than a lease of the test now and then."""
        self.world.stop_redis(self.rng.uniform(0.2, 4.0))

    def reset_redis(self) -> None:
        """RST on every connection to Redis."""
        self.world.redis_proxy.reset()

    def blackhole_redis(self) -> None:
        """Nothing comes through to Redis, connections stay open."""
        with self.world.redis_proxy.poisoned(Toxic.BLACKHOLE):
            time.sleep(self.rng.uniform(0.2, 3.0))

    def mute_redis(self) -> None:
        """Calls to Redis take effect, and every reply is lost."""
        with self.world.redis_proxy.poisoned(Toxic.MUTE):
            time.sleep(self.rng.uniform(0.1, 1.5))

    def slow_redis(self) -> None:
        """Every block to and from Redis waits 0.1 s."""
        with self.world.redis_proxy.poisoned(Toxic.LATENCY):
            time.sleep(self.rng.uniform(0.5, 2.0))

    def reset_api(self) -> None:
        """RST on every connection of a client."""
        self.world.api_proxy.reset()

    def mute_api(self) -> None:
        """Requests take effect, and every answer is lost."""
        with self.world.api_proxy.poisoned(Toxic.MUTE):
            time.sleep(self.rng.uniform(0.1, 1.0))

    def damage_checkpoint(self) -> None:
        """Flip a bit of the newest checkpoint of a job, or cut a file of it, and kill its child."""
        worker, _, children = self._family()
        newest = self._newest_of_two(worker.pid)
        file = self.rng.choice(sorted(newest.iterdir()))
        size = file.stat().st_size
        named = newest if file.name == MANIFEST else file
        self.damaged.add(named.relative_to(self.world.data_dir).as_posix())
        with file.open("r+b") as opened:
            if self.rng.random() < 0.3:
                opened.truncate(self.rng.randrange(size))
            else:
                place = self.rng.randrange(size)
                opened.seek(place)
                byte = opened.read(1)[0]
                opened.seek(place)
                opened.write(bytes([byte ^ (1 << self.rng.randrange(8))]))
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def limit_files(self) -> None:
        """RLIMIT_FSIZE: the child can write nothing larger, as on a full disk."""
        _, _, children = self._family()
        limits = (SMALL_FILE_BYTES, SMALL_FILE_BYTES)
        resource.prlimit(self.rng.choice(children), resource.RLIMIT_FSIZE, limits)

    def _family(self) -> tuple[WorkerProcess, int, list[int]]:
        """A worker that trains, its forkserver, its children."""
        families = self.world.families()
        if not families:
            raise NothingToBreak
        return self.rng.choice(families)

    def _newest_of_two(self, pid: int) -> Path:
        """The newest of at least two whole checkpoints of the job that a worker runs."""
        try:
            store = self.world.stack.store
            jobs = {row.pid: row.job_id for row in store.workers.list()}
            job = store.jobs.get(jobs.get(pid) or "")
        except StoreError:
            raise NothingToBreak from None
        attempts = self.world.data_dir / job.folder / "attempts"
        checkpoints = [
            path
            for path in attempts.glob("*/checkpoints/[0-9]*")
            if path.name.isdigit() and path.is_dir()
        ]
        if len({path.name for path in checkpoints}) < 2 or job.id in self.damaged_jobs:
            raise NothingToBreak
        self.damaged_jobs.add(job.id)
        return max(checkpoints, key=lambda path: (int(path.name), path.stat().st_mtime))

    def _wake(self, worker_pid: int, pids: list[int]) -> None:
        """Continue the processes when another attempt has begun, or after a while."""
        until_s = time.monotonic() + ZOMBIE_S
        before = self._attempt_of(worker_pid)
        while time.monotonic() < until_s:
            time.sleep(0.2)
            if before and self._attempt(before[0]) > before[1]:
                time.sleep(self.rng.uniform(0.0, 1.0))
                break
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _attempt_of(self, pid: int) -> tuple[str, int] | None:
        try:
            for row in self.world.stack.store.workers.list():
                if row.pid == pid and row.job_id:
                    return row.job_id, self._attempt(row.job_id)
        except StoreError:
            return None
        return None

    def _attempt(self, job_id: str) -> int:
        try:
            return self.world.stack.store.jobs.get(job_id).attempt
        except StoreError:
            return 0

    def wipe_redis(self) -> None:
        """FLUSHALL: Redis forgets everything, functions aside."""
        self.world.stack.store.client.run(lambda client: client.flushall())


FAULTS: dict[str, Callable[[Faults], None]] = {
    "training process: SIGKILL": Faults.kill_child,
    "forkserver: SIGKILL": Faults.kill_forkserver,
    "worker: SIGKILL": Faults.kill_worker,
    "worker: SIGTERM": Faults.end_worker,
    "worker: SIGSTOP until taken over": Faults.stop_worker,
    "training process: RLIMIT_FSIZE": Faults.limit_files,
    "checkpoint: bit flipped or cut": Faults.damage_checkpoint,
    "API: SIGKILL": Faults.kill_api,
    "API: connections reset": Faults.reset_api,
    "API: answers lost": Faults.mute_api,
    "Redis: SIGKILL": Faults.kill_redis,
    "Redis: SIGSTOP": Faults.hang_redis,
    "Redis: FLUSHALL": Faults.wipe_redis,
    "Redis: connections reset": Faults.reset_redis,
    "Redis: blackhole": Faults.blackhole_redis,
    "Redis: replies lost": Faults.mute_redis,
    "Redis: latency": Faults.slow_redis,
}
WEIGHTS = {
    "training process: SIGKILL": 16,
    "forkserver: SIGKILL": 1,
    "worker: SIGKILL": 4,
    "worker: SIGTERM": 3,
    "worker: SIGSTOP until taken over": 9,
    "training process: RLIMIT_FSIZE": 4,
    "checkpoint: bit flipped or cut": 8,
    "API: SIGKILL": 5,
    "API: connections reset": 10,
    "API: answers lost": 6,
    "Redis: SIGKILL": 7,
    "Redis: SIGSTOP": 4,
    "Redis: FLUSHALL": 2,
    "Redis: connections reset": 12,
    "Redis: blackhole": 4,
    "Redis: replies lost": 6,
    "Redis: latency": 2,
}
