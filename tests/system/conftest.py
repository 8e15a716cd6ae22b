"""One stack for the whole folder: two workers whose leases last 1.6 s."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from service.store.records import JobRecord
from tests.support.worker.stack import Stack, running_stack


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack"), MOCO_METRICS_PORT="0") as stack:
        yield stack


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    """The shared stack with a worker that can take a job."""
    shared_stack.need_workers(1)
    return shared_stack


@pytest.fixture
def pair(shared_stack: Stack) -> Stack:
    """The shared stack with two of them."""
    shared_stack.need_workers(2)
    return shared_stack


@dataclass(frozen=True)
class Golden:
    """A job and what comes of it when nobody disturbs it."""

    pack: str
    artifacts: dict[str, str]
    steps: int

    def submit(self, stack: Stack) -> str:
        """The same job once more."""
        return submit_golden(stack, self.pack)

    def check(self, stack: Stack, job: JobRecord) -> None:
        """Its files are the same, bit for bit, on the disk and in the record."""
        assert job.status == "succeeded", (job.code, job.message)
        assert stack.artifacts(job) == self.artifacts
        assert {file.name: file.sha256 for file in job.artifacts} == self.artifacts
        assert job.progress["exact"] is True


def submit_golden(stack: Stack, pack: str) -> str:
    """Two or three seconds of training on one thread, with a checkpoint every ten steps."""
    return stack.submit(
        pack,
        epochs=14,
        batch_rows=16,
        evaluation=None,
        signals_every_steps=1,
        checkpoint_every_steps=10,
    )


@pytest.fixture(scope="session")
def golden(shared_stack: Stack) -> Golden:
    shared_stack.need_workers(1)
    pack = shared_stack.add_pack("golden", rows=80)
    job_id = submit_golden(shared_stack, pack)
    job = shared_stack.wait_for(job_id, "succeeded", "failed")
    assert (job.status, job.attempt) == ("succeeded", 1), job.message
    return Golden(pack, shared_stack.artifacts(job), job.progress["steps"])
