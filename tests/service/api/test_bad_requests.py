"""Bad requests, each refused with its problem; the table is in `tests/support/service`."""

import json
from typing import Any

import httpx
import pytest

from service.ids import new_id
from service.ledger.journaled_store import JournaledStore
from service.server.problems import KINDS
from service.store.records import NewDataset
from tests.support.service.api import (
    Loose,
    RunningApi,
    client_of,
    finished_job,
    queued_job,
    ready_dataset,
    running_job,
)
from tests.support.service.bad_requests import CASES, JSON, SHA, Bad

NO_KEY = [
    ("no key", {}),
    ("an empty header", {"Authorization": ""}),
    ("a wrong key", {"Authorization": "Bearer moco_test_key_0123456788"}),
    ("part of the key", {"Authorization": "Bearer moco_test_key"}),
    ("the key as a password", {"Authorization": "Basic bW9jb190ZXN0X2tleV8wMTIzNDU2Nzg5"}),
    ("no scheme", {"Authorization": "moco_test_key_0123456789"}),
    ("not ASCII", {"Authorization": "Bearer \xe9"}),
]


@pytest.fixture(scope="module")
def world(api: RunningApi) -> dict[str, str]:
    """Name -> what stands for it in paths and bodies."""
    store, allowed = api.store, api.settings.allowed_roots[0]
    (allowed / "photos").mkdir()
    (allowed / "link").symlink_to("/etc")
    (allowed / "circle").symlink_to("circle")
    ready = ready_dataset(store, "bad-ready")
    ready_dataset(store, "bad-unlabelled", labels=())
    ready_dataset(store, "bad-birds", labels=("bird",))
    for name, size, sha in (("received", None, None), ("announced", 10, SHA)):
        JournaledStore(store, api.data_dir).create_dataset_once(
            NewDataset(dataset_id=new_id("ds"), name=f"bad-{name}", size_bytes=size, sha256=sha)
        )
    path = str(allowed / "photos")
    made = api.client.post("/v1/datasets", json={"name": "bad-in-place", "path": path})
    assert made.status_code == 201, made.text
    used = {"Idempotency-Key": "used"}
    made = api.client.post("/v1/jobs", json={"dataset": "bad-ready"}, headers=used)
    assert made.status_code == 201, made.text
    names = ("encoder.bin", "gone.bin", "short.bin", "link.bin")
    done = finished_job(api, dict.fromkeys(names, b"0123456789"))
    folder = api.data_dir / f"jobs/{done}/attempts/1/artifacts"
    (folder / "secret.txt").write_text("secret")
    (folder / "gone.bin").unlink()
    (folder / "short.bin").write_bytes(b"012")
    (folder / "link.bin").unlink()
    (folder / "link.bin").symlink_to("secret.txt")
    return {
        "{ready}": "bad-ready",
        "{unlabelled}": "bad-unlabelled",
        "{birds}": "bad-birds",
        "{received}": "bad-received",
        "{announced}": "bad-announced",
        "{in_place}": "bad-in-place",
        "{allowed}": str(allowed),
        "{queued}": queued_job(store),
        "{running}": running_job(store).job_id,
        "{done}": done,
        "{ingest}": ready.job_id or "",
    }


def filled(value: Loose, world: dict[str, str]) -> Loose:
    """`value` with the names of the fixture replaced."""
    if isinstance(value, str):
        for name, real in world.items():
            value = value.replace(name, real)
        return value
    if isinstance(value, dict):
        return {key: filled(inner, world) for key, inner in value.items()}
    return value


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The whole form of a problem."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code), body
    assert body["type"] == f"urn:mocoserve:problem:{code}"
    assert body["title"] == KINDS[code].title
    assert body["detail"]
    assert body["hint"]
    assert body["instance"].startswith("/")
    assert body["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    assert 'File "' not in answer.text
    assert "server" not in answer.headers
    return body


@pytest.mark.parametrize("bad", CASES, ids=[f"{one.path} {one.title}" for one in CASES])
def test_refused_with_its_problem(bad: Bad, api: RunningApi, world: dict[str, str]) -> None:
    content = bad.content
    headers = dict(bad.headers)
    if bad.json is not None:
        content = json.dumps(filled(bad.json, world)).encode()
        headers |= JSON
    path = httpx.URL(api.url + filled(bad.path, world))
    answer = api.client.request(bad.method, path, content=content, headers=headers)
    body = assert_problem(answer, bad.status, bad.code)
    if bad.pointer is not None:
        assert body["errors"][0]["pointer"].startswith(bad.pointer)
    if bad.status == 405:
        assert answer.headers["allow"]
    if bad.status == 416:
        assert answer.headers["content-range"] == "bytes */10"


@pytest.mark.parametrize(("title", "headers"), NO_KEY, ids=[title for title, _ in NO_KEY])
def test_no_entry_without_the_key(title: str, headers: dict[str, str], api: RunningApi) -> None:
    raw_headers = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    with client_of(api.url, key=None) as stranger:
        answer = stranger.get("/v1/jobs", headers=raw_headers)
    assert_problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith('Bearer realm="mocoserve"')


def test_the_key_twice_is_no_key(api: RunningApi) -> None:
    twice = [("Authorization", "Bearer wrong"), ("Authorization", "Bearer x")]
    with client_of(api.url, key=None) as stranger:
        assert_problem(stranger.get("/v1/jobs", headers=twice), 401, "unauthorized")


def test_the_table_is_long_enough() -> None:
    assert len(CASES) + len(NO_KEY) >= 60
    assert len({(one.method, one.path, one.title) for one in CASES}) == len(CASES)


def test_all_methods_of_a_path_are_allowed(api: RunningApi) -> None:
    answer = api.client.patch("/v1/jobs")
    assert answer.headers["allow"] == "GET, HEAD, POST"
