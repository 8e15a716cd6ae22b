"""Every documented operation as everybody: who is let in, who is refused, and with which word."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from service.ids import new_id
from service.store.embedded.server import RunningRedis
from tests.fuzz.principals import Principal, principals
from tests.fuzz.world import READ_KEY, SCRAPE_KEY
from tests.support.service.api import RunningApi, client_of, running_api
from tests.support.service.redis import empty, opened_store

SCRAPED = frozenset({"/metrics", "/livez", "/readyz"})
"""Paths that a monitor requests, listed again here as an oracle."""


class Cell(NamedTuple):
    """Status and code of a refusal; None: the principal is let in."""

    status: int
    code: str


def expected(principal: str, method: str, path: str) -> Cell | None:
    """Return the refusal that the key alone must cause, or None."""
    looks = method in ("GET", "HEAD")
    if principal in ("none", "wrong"):
        return Cell(401, "unauthorized")
    if principal == "scrape" and not (looks and path in SCRAPED):
        return Cell(403, "scrape_only")
    if principal == "cross-site" and not looks:
        return Cell(403, "cross_site")
    if principal in ("read", "session-read") and not looks:
        return Cell(403, "read_only")
    return None


@pytest.fixture(scope="module")
def api(api_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    with opened_store(api_redis.url) as store:
        empty(store)
    folder = tmp_path_factory.mktemp("matrix")
    with running_api(api_redis.url, folder, read_key=READ_KEY, scrape_key=SCRAPE_KEY) as running:
        yield running


@pytest.fixture(scope="module")
def document(api: RunningApi) -> dict[str, Any]:
    found: dict[str, Any] = api.client.get("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each, and the HEAD that belongs to each GET."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation
            if method == "get" and "head" not in methods:
                yield "HEAD", path, operation


def test_every_operation_as_everybody(api: RunningApi, document: dict[str, Any]) -> None:
    """Nothing that is named exists: whoever is let in learns that, or is told of a field."""
    wrong, cells = [], 0
    everyone = principals(api)
    with client_of(api.url, key=None) as client:
        for method, path, operation in operations(document):
            real = re.sub(r"{id}", new_id("ds" if "/datasets/" in path else "job"), path)
            real = re.sub(r"{\w+}", "x", real)
            for principal in everyone:
                answer = client.request(method, real, headers=principal.headers)
                cell = expected(principal.name, method, path)
                documented = str(answer.status_code) in operation["responses"]
                if not documented or not _is(answer.status_code, _code(answer.content), cell):
                    wrong.append((principal.name, method, path, answer.status_code, answer.text))
                cells += 1
    assert wrong == []
    assert cells >= 8 * 60


def test_a_session_ends_for_every_operation(api: RunningApi, document: dict[str, Any]) -> None:
    session = next(one for one in principals(api) if one.name == "session-full")
    with client_of(api.url, key=None) as client:
        assert client.get("/v1/jobs", headers=session.headers).status_code == 200
        assert client.post("/sign-out", headers=session.headers).status_code == 303
        for method, path, _ in operations(document):
            real = re.sub(r"{\w+}", "x", path)
            assert client.request(method, real, headers=session.headers).status_code == 401


def test_two_keys_are_none(api: RunningApi) -> None:
    good = [one for one in principals(api) if one.name in ("full", "read", "scrape")]
    with client_of(api.url, key=None) as client:
        for one in good:
            twice = [*one.headers.items(), *good[0].headers.items()]
            assert client.get("/metrics", headers=twice).status_code == 401
        session = next(one for one in principals(api) if one.name == "session-full")
        both = _merged(session, Principal("wrong", {"Authorization": "Bearer x"}))
        assert client.get("/v1/jobs", headers=both).status_code == 401, "no cookie mends a bad key"


def _merged(*everyone: Principal) -> dict[str, str]:
    return {name: value for one in everyone for name, value in one.headers.items()}


def _code(body: bytes) -> str:
    found = re.search(rb'"code": "(\w+)"', body)
    return found[1].decode() if found else ""


def _is(status: int, code: str, cell: Cell | None) -> bool:
    """Return whether an answer is the expected refusal, whose code a HEAD answer does not carry."""
    if cell is None:
        return status not in (401, 403)
    return (status, code or cell.code) == cell
