"""A forkserver whose children are fakes."""

from collections.abc import Iterator

import pytest

from worker.process.forkserver_client import ForkserverClient


@pytest.fixture(scope="module")
def forkserver() -> Iterator[ForkserverClient]:
    made = ForkserverClient("tests.support.worker.fake_child:run")
    made.ensure()
    made.wait_ready(30.0)
    yield made
    made.close()
