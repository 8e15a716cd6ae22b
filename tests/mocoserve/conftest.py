"""One real API for the tests of a module, and a client of it."""

from collections.abc import Iterator

import pytest

from mocoserve.client import Client
from tests.support.service.api import KEY, RunningApi
from tests.support.service.api_fixtures import api, api_redis, quiet

__all__ = ["api", "api_redis", "quiet"]


@pytest.fixture
def real(api: RunningApi) -> Iterator[Client]:
    """A client of the running API."""
    with Client(api.url, KEY) as client:
        yield client
