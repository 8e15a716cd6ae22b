"""Fixtures: one real API for the tests of a module, on a Redis that only API tests use."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from service.store.embedded.server import RunningRedis
from tests.support.service.api import RunningApi, running_api
from tests.support.service.redis import empty, opened_store, running_redis


@pytest.fixture(scope="session", autouse=True)
def quiet() -> Iterator[None]:
    """Servers run in threads here, whose log lines no test could capture."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def api_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRedis]:
    """A server of its own, because the API's reaper moves the clock of leases."""
    with running_redis(tmp_path_factory.mktemp("api-redis")) as server:
        yield server


@pytest.fixture(scope="module")
def api(api_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    """An API with small limits, one allowed root, `<data folder>/../allowed`, and no data."""
    with opened_store(api_redis.url) as store:
        empty(store)
    base = tmp_path_factory.mktemp("api")
    (base / "allowed").mkdir()
    with running_api(
        api_redis.url,
        base / "data",
        upload_bytes_max=4 * 2**20,
        allowed_roots=str(base / "allowed"),
    ) as running:
        yield running
