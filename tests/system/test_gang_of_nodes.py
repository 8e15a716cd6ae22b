"""One job on two machines: the network is cut, an agent is killed, a machine stops.

The machines are network namespaces with a link between them; the first one has the store. The
oracle is the same job undisturbed.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from service.store.records import JobRecord
from tests.support.system.namespaces import (
    ADDRESSES,
    Machines,
    can_make_namespaces,
    two_machines,
)
from tests.support.system.processes import wait_until
from tests.support.worker.stack import ROOT, Stack, WorkerProcess, running_stack

PORT = 6390
LONG_S = 300.0


@dataclass
class Pair:
    """Two machines with a worker each."""

    stack: Stack
    machines: Machines
    workers: list[WorkerProcess]

    def submit(self) -> str:
        return self.stack.submit(
            "datasets/pair/attempts/1/pack",
            epochs=20,
            batch_rows=16,
            evaluation=None,
            signals_every_steps=1,
            checkpoint_every_steps=10,
            resources={"gpus": 2, "nodes": 2},
        )

    def processes(self, machine: int) -> list[psutil.Process]:
        """Return a machine's worker and everything that it started."""
        worker = psutil.Process(self.workers[machine].pid)
        return [worker, *worker.children(recursive=True)]

    def agent(self, machine: int) -> psutil.Process:
        """Return the agent that runs the ranks of a machine."""
        _, forkserver, *rest = self.processes(machine)
        return next(process for process in rest if process.ppid() == forkserver.pid)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    if not can_make_namespaces():
        pytest.skip("this user cannot make network namespaces (unshare -rn, ip)")
    folder = tmp_path_factory.mktemp("pair")
    with two_machines() as machines, running_stack(folder) as stack:
        address = urlsplit(stack.redis.url)
        relay = [sys.executable, "-m", "tests.support.system.relay", ADDRESSES[0], str(PORT)]
        process = subprocess.Popen([*machines.inside(0), *relay, address.path], cwd=ROOT)
        try:
            stack.add_pack("pair", rows=80)
            away = f"redis://:{address.password}@{ADDRESSES[0]}:{PORT}/0"
            urls = (stack.redis.url, away)
            workers = [
                stack.start_worker(
                    prefix=machines.inside(machine),
                    MOCO_REDIS_URL=urls[machine],
                    MOCO_NODE_ADDRESS=ADDRESSES[machine],
                    MOCO_NAME=f"machine-{machine}",
                )
                for machine in (0, 1)
            ]
            stack.need_workers(2)
            yield Pair(stack, machines, workers)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def artifacts(pair: Pair) -> dict[str, str]:
    """Return the files of the job when nobody disturbs it."""
    job = pair.stack.wait_for(pair.submit(), "succeeded", "failed", timeout_s=LONG_S)
    assert (job.status, job.attempt) == ("succeeded", 1), job.message
    return pair.stack.artifacts(job)


def cut_the_link(pair: Pair) -> Callable[[], None]:
    pair.machines.set_link("down")
    return lambda: pair.machines.set_link("up")


def kill_an_agent(pair: Pair) -> Callable[[], None]:
    pair.agent(1).kill()
    return lambda: None


def stop_a_machine(pair: Pair) -> Callable[[], None]:
    processes = pair.processes(1)
    for process in processes:
        os.kill(process.pid, signal.SIGSTOP)

    def wake() -> None:
        for process in processes:
            os.kill(process.pid, signal.SIGCONT)

    return wake


def check(pair: Pair, job: JobRecord, artifacts: dict[str, str]) -> None:
    """The job has succeeded once, in its second attempt, with the bytes of an undisturbed run."""
    assert job.status == "succeeded", (job.code, job.message)
    assert pair.stack.artifacts(job) == artifacts
    rows = pair.stack.store.jobs.attempts(job.id)
    assert [row.outcome == "succeeded" for row in rows] == [False, True]
    published = Path(pair.stack.data_dir, job.folder).glob("attempts/*/artifacts")
    assert len(list(published)) == 1


@pytest.mark.chaos
@pytest.mark.parametrize("disturb", [cut_the_link, kill_an_agent, stop_a_machine])
def test_what_ends_one_node_ends_all_and_nothing_is_done_twice(
    pair: Pair, artifacts: dict[str, str], disturb: Callable[[Pair], Callable[[], None]]
) -> None:
    job_id = pair.submit()
    jobs = pair.stack.store.jobs
    wait_until(lambda: jobs.get(job_id).checkpoint_step >= 10, LONG_S, "a checkpoint")
    agents = [pair.agent(machine) for machine in (0, 1)]
    repair = disturb(pair)
    try:
        wait_until(lambda: jobs.attempts(job_id)[0].outcome is not None, LONG_S, "it is lost")
        wait_until(lambda: not agents[0].is_running(), LONG_S, "the other agent has ended")
    finally:
        repair()
    wait_until(lambda: not agents[1].is_running(), LONG_S, "both agents have ended")
    job = pair.stack.wait_for(job_id, "succeeded", "failed", timeout_s=LONG_S)
    check(pair, job, artifacts)
