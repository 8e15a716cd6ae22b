"""Jobs come in by HTTP, and go, while everything breaks; at the end all must be as it should.

The oracle is not the service's own word: the artifacts of each job are hashed on the disk and
compared with those of the same spec in an undisturbed run before the storm, and each job that
was accepted or deleted is counted by the client that asked. At the very end Redis is emptied once
more, so what is judged has been rebuilt from the disk alone.
"""

import json
import random
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mocoserve.client import Client
from service.store.records import JobRecord
from service.store.store_errors import StoreError
from tests.chaos.deletions import Deletions
from tests.support.chaos.faults import Faults
from tests.support.chaos.world import World, insist
from tests.support.worker.stack import ROOT

AT_WORK = 10
"""Jobs that are not over at one time."""
DELETIONS_A_LOOK = 0.04
"""Chance that the user tries to delete something at each look (every 0.1 s)."""
DATASETS_EVERY = 5
"""Jobs submitted between one new dataset and the next."""
AHEAD = 0.03
"""Faults may be so far ahead of the jobs, as parts of what is wanted of both."""
SETTLE_S = 420.0
WORKER_FAULTS = "; ".join(
    (
        "train.*=SIGKILL%0.002",
        "evaluation.done=SIGKILL%0.05",
        "checkpoint.copied=SIGKILL%0.01",
        "checkpoint.mid_write=SIGKILL%0.01",
        "checkpoint.pre_fsync=SIGKILL%0.006",
        "checkpoint.pre_fsync=raise(EIO)%0.003",
        "checkpoint.pre_manifest=SIGKILL%0.01",
        "checkpoint.pre_rename=SIGKILL%0.01",
        "checkpoint.post_rename=SIGKILL%0.01",
        "checkpoint.pre_prune=SIGKILL%0.01",
        "checkpoint.loaded=SIGKILL%0.03",
        "publish.mid_write=SIGKILL%0.02",
        "publish.pre_rename=SIGKILL%0.08",
        "publish.pre_rename=raise(ENOSPC)%0.04",
        "publish.post_rename=SIGKILL%0.08",
        "result.pre_write=SIGKILL%0.06",
        "ingest.*=SIGKILL%0.02",
        "worker.claimed=SIGKILL%0.004",
        "worker.prepared=SIGKILL%0.004",
        "worker.pre_append=SIGKILL%0.0003",
        "worker.pre_checkpoint=SIGKILL%0.0015",
        "worker.post_checkpoint=SIGKILL%0.0015",
        "worker.pre_complete=SIGKILL%0.03",
        "worker.post_complete=SIGKILL%0.03",
        "worker.pre_release=SIGKILL%0.01",
        "store.called=raise(ECONNRESET)%0.001",
        "store.replied=raise(ECONNRESET)%0.002",
    )
)
API_FAULTS = "; ".join(
    (
        "api.*=SIGKILL%0.01",
        "api.pre_delete=SIGKILL%0.06",
        "api.post_delete=SIGKILL%0.06",
        "api.pre_dataset_delete=SIGKILL%0.08",
        "api.post_dataset_delete=SIGKILL%0.08",
        "upload.*=SIGKILL%0.03",
        "store.replied=raise(ECONNRESET)%0.002",
        "reconcile.mid=SIGKILL%0.02",
    )
)
VARIANTS: dict[str, dict[str, Any]] = {
    "sgd-split": {"epochs": 9},
    "adamw": {"epochs": 8, "optim": {"name": "adamw"}},
    "symmetric-fp32": {"epochs": 6, "precision": "fp32", "method": {"symmetric": True}},
    "plain-linear-evaluated": {
        "epochs": 7,
        "partial_batch": "keep",
        "batch_rows": 12,
        "method": {"bn": "plain", "head": "linear", "negatives_start": "empty"},
        "evaluation": {"name": "knn", "every_epochs": 3, "k": 5},
    },
    "two-ranks": {"epochs": 5, "resources": {"gpus": 2}},
}
WEIGHTS = {"two-ranks": 1}
"""Chance of a variant where it is not COMMON: each rank imports torch anew in each attempt."""
COMMON = 3
SHARED: dict[str, Any] = {
    "encoder": {"name": "small"},
    "batch_rows": 16,
    "evaluation": None,
    "signals_every_steps": 2,
    "checkpoint_every_steps": 4,
}


@dataclass(frozen=True)
class Wanted:
    """Limits of the storm: it ends after so many faults and jobs, or when out of time."""

    faults: int
    jobs: int
    limit_s: float


@dataclass
class Found:
    """Counts of a storm."""

    faults: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    datasets: int = 0
    jobs_deleted: int = 0
    datasets_deleted: int = 0
    deletions_refused: int = 0
    deletions_unanswered: int = 0
    attempts: int = 0
    completions_max: int = 0
    faults_found: list[str] = field(default_factory=list)
    """Everything that is not as it should be, in words. Empty if all is well."""
    verified: str = ""

    @property
    def is_clean(self) -> bool:
        return not self.faults_found


@dataclass
class Storm:
    """One run."""

    world: World
    wanted: Wanted
    rng: random.Random
    say: Callable[[str], None]
    accepted: dict[str, str] = field(default_factory=dict)
    """Job id -> variant."""
    datasets: list[str] = field(default_factory=list)
    """Ids of those beside the golden one."""
    golden: dict[str, dict[str, str]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.jobs_away, self.datasets_away = Deletions(self.rng), Deletions(self.rng)

    def run(self) -> Found:
        """The undisturbed runs, the storm, the calm, the judgement."""
        self.world.wait_warm()
        self._undisturbed()
        self.say(f"{len(self.golden)} golden runs; the storm begins")
        faults = Faults(self.world, self.rng)
        self.world.calm()
        self.world.worker_faults, self.world.api_faults = WORKER_FAULTS, API_FAULTS
        user = threading.Thread(target=self._use, name="user", daemon=True)
        user.start()
        self._strike(faults)
        self._over.set()
        self.say("calm: what is left must end by itself")
        faults.wait_for_zombies()
        self.world.calm()
        user.join(SETTLE_S)
        if user.is_alive():
            self.troubles.append("the client did not get all of its jobs accepted")
        self._settle()
        self.say("Redis is emptied once more")
        faults.wipe_redis()
        self._settle()
        return self._judge(faults)

    def _undisturbed(self) -> None:
        """Each variant once, by the front door: what its files must be."""
        with self.world.client() as client:
            client.datasets.wait(self.world.add_dataset(client, "golden"), timeout_s=60.0)
            for variant in VARIANTS:
                job = client.jobs.create(self._spec(variant))
                ended = client.jobs.wait(job.id, timeout_s=120.0)
                record = self.world.stack.store.jobs.get(job.id)
                assert ended.status == "succeeded", (record.code, record.message)
                assert record.attempt == 1
                self.golden[variant] = self.world.stack.artifacts(record)

    def _spec(self, variant: str) -> dict[str, Any]:
        return {"dataset": "golden"} | SHARED | VARIANTS[variant]

    def _use(self) -> None:
        """A user: submits until enough was accepted, adds datasets, and deletes of both."""
        with self.world.client() as client, self.world.client(tries=1) as once:
            while not self._over.is_set() or len(self.accepted) < self.wanted.jobs:
                if self.rng.random() < DELETIONS_A_LOOK:
                    self._delete(once)
                if len(self.accepted) >= self.wanted.jobs * 1.5 or self._unended() >= AT_WORK:
                    time.sleep(0.1)
                    continue
                names = sorted(VARIANTS)
                weights = [WEIGHTS.get(name, COMMON) for name in names]
                (variant,) = self.rng.choices(names, weights)
                key = str(uuid.uuid4())
                submit = partial(client.jobs.create, self._spec(variant), idempotency_key=key)
                job = insist(submit)
                if job.id in self.accepted:
                    self.troubles.append(f"{job.id} was given to two submissions")
                self.accepted[job.id] = variant
                if len(self.accepted) % DATASETS_EVERY == 0:
                    name = f"set-{len(self.accepted)}"
                    self.datasets.append(insist(partial(self.world.add_dataset, client, name)))

    def _delete(self, client: Client) -> None:
        """Try to delete a job, now and then a dataset too; some are in use."""
        job = self.jobs_away.pick(list(self.accepted))
        if job:
            self.jobs_away.ask(job, client.jobs.delete)
        dataset = self.datasets_away.pick(self.datasets)
        if dataset and self.rng.random() < 0.5:
            self.datasets_away.ask(dataset, client.datasets.delete)

    def _unended(self) -> int:
        try:
            counts = self.world.stack.store.jobs.counts()
        except StoreError:
            return AT_WORK
        return counts["queued"] + counts["running"] + counts["stopping"]

    def _strike(self, faults: Faults) -> None:
        until_s = time.monotonic() + self.wanted.limit_s
        told_s = 0.0
        while time.monotonic() < until_s:
            total = faults.done.total() + sum(self._fired().values())
            if time.monotonic() - told_s > 30.0:
                told_s = time.monotonic()
                self.say(f"{total} faults, {len(self.accepted)} jobs, {self._ended()} ended")
            ended = self._ended()
            if total >= self.wanted.faults and ended >= self.wanted.jobs:
                return
            # Spread over the jobs: faults that outrun them would all hit the same few.
            if total / self.wanted.faults < ended / self.wanted.jobs + AHEAD:
                faults.strike()
            time.sleep(self.rng.uniform(0.1, 0.6))

    def _ended(self) -> int:
        try:
            there = self.world.stack.store.jobs.counts()["succeeded"]
            return there + len(self.jobs_away.gone)
        except StoreError:
            return 0

    def _fired(self) -> Counter[str]:
        """Faults at failpoints so far, by place and action."""
        counts: Counter[str] = Counter()
        if self.world.faults_log.exists():
            for line in self.world.faults_log.read_text().splitlines():
                row = json.loads(line)
                counts[f"{row['name']}: {row['action']}"] += 1
        return counts

    def _settle(self) -> None:
        """Wait until the API answers and every job is over."""
        until_s = time.monotonic() + SETTLE_S
        with self.world.client() as client:
            insist(partial(client.datasets.get, "golden"))
        while self._unended() and time.monotonic() < until_s:
            time.sleep(0.5)

    def _judge(self, faults: Faults) -> Found:
        found = Found(faults=faults.done + self._fired(), datasets=len(self.datasets))
        self._judge_jobs(found)
        self._judge_datasets()
        for away in (self.jobs_away, self.datasets_away):
            self.troubles += [f"{id}: 404 before anybody had deleted it" for id in away.lost]
            found.deletions_refused += away.refused
            found.deletions_unanswered += len(away.unanswered)
        found.jobs_deleted = len(self.jobs_away.gone)
        found.datasets_deleted = len(self.datasets_away.gone)
        found.jobs = len(self.accepted)
        found.verified = self._verify(faults.damaged)
        found.faults_found = self.troubles
        return found

    def _judge_jobs(self, found: Found) -> None:
        store, away = self.world.stack.store, self.jobs_away
        there = {record.id: record for record in self._all_jobs()}
        folders = {path.name for path in (self.world.data_dir / "jobs").iterdir()}
        self.troubles += [f"{id} was deleted and is there" for id in away.gone & there.keys()]
        self.troubles += [f"{id} was deleted, its folder is there" for id in away.gone & folders]
        strangers = len(there.keys() - self.accepted.keys()) - len(VARIANTS)
        if strangers:
            self.troubles.append(f"{strangers} jobs are there that nobody was told of")
        for job_id, variant in self.accepted.items():
            record = there.get(job_id)
            if job_id in away.gone or (record is None and job_id in away.unanswered):
                continue
            self.troubles += _troubles(record, job_id, self.golden[variant], self.world)
            if record:
                rows = store.jobs.attempts(job_id)
                completions = sum(row.outcome == "succeeded" for row in rows)
                found.completions_max = max(found.completions_max, completions)
                found.attempts += record.attempt

    def _judge_datasets(self) -> None:
        store, away = self.world.stack.store, self.datasets_away
        there = {record.id: record for record in store.datasets.list(limit=1000).data}
        folders = {path.name for path in (self.world.data_dir / "datasets").iterdir()}
        self.troubles += [f"{id} was deleted and is there" for id in away.gone & there.keys()]
        self.troubles += [f"{id} was deleted, its folder is there" for id in away.gone & folders]
        for id in self.datasets:
            if id in away.gone or (id not in there and id in away.unanswered):
                continue
            if id not in there:
                self.troubles.append(f"dataset {id} was added and is not there")
            elif there[id].status != "ready":
                self.troubles.append(f"dataset {id} is {there[id].status}: {there[id].message}")

    def _all_jobs(self) -> Iterator[JobRecord]:
        after = None
        while True:
            page = self.world.stack.store.jobs.list(after=after, limit=100)
            yield from page.data
            if not page.has_more:
                return
            after = page.data[-1].id

    def _verify(self, damaged: set[str]) -> str:
        """`moco admin verify --deep`, as an operator would run it.

        It must find nothing but the very files that the storm has damaged itself: a worker that is
        killed after success leaves the checkpoints of earlier attempts where they are.
        """
        done = subprocess.run(
            [sys.executable, "-m", "service.cli", "admin", "verify", "--deep", "--json"],
            cwd=ROOT,
            env=self.world.operator_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if not done.stdout:
            self.troubles.append(f"moco admin verify: {done.stderr}")
            return ""
        told = json.loads(done.stdout)
        found = [one for one in told["findings"] if not _is_ours(one, damaged)]
        self.troubles += [f"moco admin verify: {one}" for one in found]
        ours = len(told["findings"]) - len(found)
        return (
            f"moco admin verify: {told['jobs']} jobs, {told['datasets']} datasets, {len(found)} "
            f"findings besides {ours} of the {len(damaged)} files that the storm had damaged"
        )


def _is_ours(finding: dict[str, str], damaged: set[str]) -> bool:
    return finding["what"] == "bad_checkpoint" and finding["where"] in damaged


def _troubles(
    record: JobRecord | None, job_id: str, golden: dict[str, str], world: World
) -> Iterator[str]:
    if record is None:
        yield f"{job_id} was accepted and is not there"
        return
    if record.status != "succeeded":
        yield f"{job_id} is {record.status} after attempt {record.attempt}: {record.message}"
        return
    if world.stack.artifacts(record) != golden:
        yield f"{job_id}: its files differ from those of an undisturbed run"
    if record.failures:
        yield f"{job_id}: {record.failures} failures were charged to its user"
