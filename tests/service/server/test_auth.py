"""The key is asked for on every route that exists, and on those that do not."""

import re
import stat
from pathlib import Path

import pytest
from starlette.routing import Route

from service.app import OPEN, ROUTERS
from service.ids import new_id
from service.server.api_keys import KEY_FILE, WeakKey, load_or_make
from tests.support.service.api import KEY, RunningApi, client_of

ROUTES = sorted(
    (method, route.path)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, Route)
    for method in route.methods or ()
)


def test_there_are_routes() -> None:
    assert ("GET", "/livez") in ROUTES
    assert ("GET", "/docs") in ROUTES
    assert ("PUT", "/v1/datasets/{id}/content") in ROUTES
    assert len(ROUTES) >= 28


def test_a_stranger_may_only_sign_in_and_out() -> None:
    assert {getattr(route, "path", None) for route in OPEN.routes} == {"/sign-in", "/sign-out"}


@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("GET", "/no/such/path"), ("PUT", "/")])
def test_every_route_needs_the_key(method: str, path: str, api: RunningApi) -> None:
    """Known ids and unknown ones look the same from outside."""
    real = re.sub(r"\{id\}", new_id("job"), path).replace("{name}", "x")
    with client_of(api.url, key=None) as stranger:
        for headers in ({}, {"Authorization": "Bearer " + KEY[:-1] + "X"}):
            answer = stranger.request(method, real, headers=headers)
            assert answer.status_code == 401
            assert "bearer" in answer.headers["www-authenticate"].lower()
            if method != "HEAD":
                assert answer.json()["code"] == "unauthorized"
                assert KEY not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_key_opens(scheme: str, api: RunningApi) -> None:
    with client_of(api.url, key=None) as client:
        answer = client.get("/livez", headers={"Authorization": f"{scheme} {KEY}"})
    assert answer.json() == {"status": "ok"}


def test_refusals_are_counted(api: RunningApi) -> None:
    def count() -> float:
        page = api.client.get("/metrics").text
        found = re.search(r"^moco_auth_failures_total (\S+)$", page, re.MULTILINE)
        assert found is not None
        return float(found[1])

    before = count()
    with client_of(api.url, key="wrong") as stranger:
        stranger.get("/v1/jobs")
    assert count() == before + 1


def test_a_key_is_made_once_and_only_for_us(tmp_path: Path) -> None:
    first = load_or_make(tmp_path, None)
    assert load_or_make(tmp_path, None) == first
    assert len(first) >= 40
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_a_key_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_text("k" * 40 + "\n")
    (tmp_path / KEY_FILE).chmod(0o644)
    assert load_or_make(tmp_path, None) == "k" * 40
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("key", ["", "short", "k" * 40 + "\n", "with space" * 4, "é" * 40])
def test_a_weak_key_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(WeakKey, match="MOCO_API_KEY"):
        load_or_make(tmp_path, key)


def test_a_given_key_makes_no_file(tmp_path: Path) -> None:
    assert load_or_make(tmp_path, "k" * 40) == "k" * 40
    assert list(tmp_path.iterdir()) == []
