"""Fixtures that several parts share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter

from service.store.embedded.server import RunningRedis
from service.store.store import Store
from tests.support.service.redis import empty, opened_store, running_redis
from tests.support.system.required_tools import skip_summary

# Without a GPU its kernels are interpreted. Read when Triton is imported, as by torch's optimizers.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """End a run with what was skipped, and the command that installs what was missing."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = [str(report.longrepr[2]).removeprefix("Skipped: ") for report in reports]
    if lines := skip_summary(reasons):
        terminalreporter.section("skipped")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRedis]:
    """One real server for all tests that do not hurt it."""
    with running_redis(tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture
def redis_store(redis_server: RunningRedis) -> Iterator[Store]:
    """An open store with nothing in it, on the shared server."""
    with opened_store(redis_server.url) as store:
        empty(store)
        yield store
