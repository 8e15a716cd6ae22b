"""One real API for the tests of a module."""

from tests.support.service.api_fixtures import api, api_redis, quiet

__all__ = ["api", "api_redis", "quiet"]
