"""HTTP as RFC 9110 has it: trailers, HEAD, conditions, and requests no library would send."""

import json
import re
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from service.app import OPEN, ROUTERS
from service.ids import new_id
from tests.support.service.api import KEY, RunningApi, finished_job, queued_job, ready_dataset
from tests.support.service.raw_http import exchange, request

BEARER = f"Authorization: Bearer {KEY}"
CHUNKED = "Transfer-Encoding: chunked"
JSON = "Content-Type: application/json"


def chunks(body: bytes, *trailer: str) -> bytes:
    """A body in one chunk, and its trailer."""
    lines = "".join(f"{line}\r\n" for line in trailer).encode("latin-1")
    return b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(body), body, lines)


def code_of(body: bytes) -> str:
    problem: dict[str, Any] = json.loads(body)
    return str(problem["code"])


def test_a_key_in_a_trailer_opens_nothing(api: RunningApi) -> None:
    body = chunks(b'{"dataset": "x"}', BEARER)
    answer = exchange(api.url, request("POST", "/v1/jobs", JSON, CHUNKED, body=body))
    assert (answer.status, code_of(answer.body)) == (401, "unauthorized")


def test_a_trailer_is_no_header(api: RunningApi) -> None:
    """Neither the key of a repeat, nor what would make the request another one."""
    ready_dataset(api.store, "trailer")
    trailer = ("Idempotency-Key: in-the-trailer", 'If-Match: "x"', "Content-Encoding: gzip")
    made = [
        exchange(
            api.url,
            request(
                "POST",
                "/v1/jobs",
                BEARER,
                JSON,
                CHUNKED,
                body=chunks(b'{"dataset": "trailer"}', *trailer),
            ),
        )
        for _ in range(2)
    ]
    assert [answer.status for answer in made] == [201, 201]
    assert "idempotent-replayed" not in made[1].headers
    assert json.loads(made[0].body)["id"] != json.loads(made[1].body)["id"]


@pytest.mark.parametrize("line", ["X: " + "y" * 200_000, "\r\n".join(["X: y"] * 40_000)])
def test_an_endless_trailer_is_refused(line: str, api: RunningApi) -> None:
    body = b"2\r\n{}\r\n0\r\n" + line.encode()
    answer = exchange(api.url, request("POST", "/v1/jobs", BEARER, JSON, CHUNKED, body=body))
    assert answer.status == 400


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("Last-Event-ID:", 200),
        ("Last-Event-ID: ", 200),
        ("Last-Event-ID: 0-0", 200),
        ("Last-Event-ID: x", 400),
        ("Last-Event-ID: 9999999999999999999-9999999999999999999", 204),
    ],
)
def test_an_empty_last_event_names_none(line: str, status: int, api: RunningApi) -> None:
    job = finished_job(api, {"encoder.bin": b"x"})
    path, accept = f"/v1/jobs/{job}/events", "Accept: text/event-stream"
    answer = exchange(api.url, request("GET", path, BEARER, accept, line))
    assert answer.status == status, answer.body


@pytest.mark.parametrize(
    "path",
    ["/v1/jobs", "/v1%2Fjobs", "/ui/jobs?x=%ff", "/sign-in?next=%00", "/%00", "/v1/jobs/%ff"],
)
def test_no_path_is_a_mistake_of_the_service(path: str, api: RunningApi) -> None:
    for lines in ((), (BEARER,), ("Accept: text/html",)):
        assert 200 <= exchange(api.url, request("GET", path, *lines)).status < 500


@pytest.mark.parametrize(
    "origin",
    ["http://[", "http://[::1", "//[", "http://\xe9]", "\x00", "null", "http://" + "x" * 9000],
)
def test_no_origin_is_a_mistake_of_the_service(origin: str, api: RunningApi) -> None:
    form = b"key=x"
    for path in ("/sign-in", "/sign-out", "/v1/jobs"):
        lines = (f"Origin: {origin}", f"Content-Length: {len(form)}", "Cookie: moco_session=x")
        answer = exchange(api.url, request("POST", path, *lines, body=form))
        assert answer.status in (400, 401, 403)


GETS = sorted(
    route.path
    for router in (*ROUTERS, OPEN)
    for route in router.routes
    if isinstance(route, Route) and "GET" in (route.methods or ())
)


@pytest.mark.parametrize("path", GETS)
def test_head_is_get_without_the_body(path: str, api: RunningApi) -> None:
    """On every route, with the same status and headers; a stream's ends with its head."""
    job = finished_job(api, {"encoder.bin": b"0123456789"})
    names = {"{id}": job, "{name}": "encoder.bin", "{probe_id}": new_id("probe"), "{tag}": "x"}
    names |= {"{picture}": "sheet.png", "{rest:path}": "x"}
    for name, real in names.items():
        path = path.replace(name, real)
    for accept in ("application/json", "text/event-stream, text/html;q=0.5, */*;q=0.1"):
        lines = (BEARER, f"Accept: {accept}", "X-Request-Id: same")
        head = exchange(api.url, request("HEAD", path, *lines))
        get = exchange(api.url, request("GET", path, *lines))
        assert (head.status, head.body) == (get.status, b"")
        moving = {"date", "content-length", "transfer-encoding"}
        assert {name for name in get.headers if name not in moving} <= set(head.headers)
        assert head.headers.get("content-type") == get.headers.get("content-type")


def test_head_of_a_stream_that_goes_on_ends(api: RunningApi) -> None:
    path = f"/v1/jobs/{queued_job(api.store)}/events"
    answer = exchange(api.url, request("HEAD", path, BEARER, "Accept: text/event-stream"))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_every_path_names_its_methods(api: RunningApi) -> None:
    for path, allowed in (
        ("/v1/jobs", "GET, HEAD, POST"),
        ("/livez", "GET, HEAD"),
        ("/ui/jobs", "GET, HEAD"),
        ("/sign-in", "GET, HEAD, POST"),
        ("/sign-out", "POST"),
        (f"/v1/jobs/{new_id('job')}/cancel", "POST"),
    ):
        for method in ("TRACE", "PATCH", "OPTIONS"):
            sent = {"Sec-Fetch-Site": "same-origin"}
            answer = api.client.request(method, path, headers=sent)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_a_job_is_changed_only_as_it_was_seen(api: RunningApi) -> None:
    job = f"/v1/jobs/{queued_job(api.store)}"
    seen = api.client.get(job).headers["etag"]
    assert api.client.get(job, headers={"If-Match": seen}).status_code == 200
    assert api.client.post(f"{job}/pause", headers={"If-Match": seen}).status_code == 200
    late = api.client.post(f"{job}/resume", headers={"If-Match": seen})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    now = api.client.get(job).headers["etag"]
    weak = api.client.post(f"{job}/cancel", headers={"If-Match": f"W/{now}"})
    assert weak.status_code == 412
    either = {"If-Match": f'"x", {now}'}
    assert api.client.post(f"{job}/cancel", headers=either).status_code == 200
    assert api.client.delete(job, headers={"If-Match": seen}).status_code == 412
    assert api.client.delete(job, headers={"If-Match": "*"}).status_code == 204


def test_several_ranges_are_answered_with_the_whole(api: RunningApi) -> None:
    job = finished_job(api, {"encoder.bin": b"0123456789"})
    path = f"/v1/jobs/{job}/artifacts/encoder.bin"
    several = api.client.get(path, headers={"Range": "bytes=0-1,4-5"})
    assert (several.status_code, several.content) == (200, b"0123456789")
    assert "content-range" not in several.headers
    far = api.client.get(path, headers={"Range": "bytes=4-99999999999999999999999"})
    assert (far.status_code, far.content) == (206, b"456789")
    assert far.headers["content-range"] == "bytes 4-9/10"


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_a_decoded_slash_does_not_route(method: str, api: RunningApi) -> None:
    path = httpx.URL(f"{api.url}/v1%2fjobs")
    assert api.client.request(method, path).status_code == 404


@pytest.mark.parametrize("path", [path for path in GETS if not path.startswith(("/ui", "/sign"))])
def test_an_unknown_parameter_is_refused_on_every_route(path: str, api: RunningApi) -> None:
    if path == "/":
        return
    answer = api.client.get(re.sub(r"{\w+}", "x", path) + "?state=x")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert answer.json()["errors"][0]["pointer"] == "query/state"
