"""Events of a job: parsed, streamed, polled, and continued after a break."""

import json

import httpx
import pytest

from mocoserve.client import Client
from mocoserve.errors import (
    NotFound,
)
from mocoserve.event_stream import parse_sse
from tests.support.client.scripted_client import Broken, job_json, scripted
from tests.support.service.api import RunningApi, finished_job


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["id: 1-0", "event: x", "data: {}", ""], [("1-0", "{}")]),
        ([": heartbeat", "", "id: 2-0", "data: a", "data: b", ""], [("2-0", "a\nb")]),
        (["data:no space", ""], [("", "no space")]),
        (["id: 3-0", "data: cut off"], []),
        (["id: 1-0", "data: a", "", "data: b", ""], [("1-0", "a"), ("1-0", "b")]),
    ],
)
def test_sse_lines(lines: list[str], found: list[tuple[str, str]]) -> None:
    assert list(parse_sse(lines)) == found


def sse(*numbers: int, last: str | None = None) -> bytes:
    events = [(f"{n}-0", {"type": "stepped", "step": n}) for n in numbers]
    if last:
        events.append(("99-0", {"type": "status", "status": last}))
    return b"".join(f"id: {i}\ndata: {json.dumps(e)}\n\n".encode() for i, e in events)


def test_events_go_on_after_a_break_without_loss_or_repeat() -> None:
    asked: list[str | None] = []

    def server(request: httpx.Request) -> httpx.Response:
        assert request.url.path.endswith("/events")
        after = request.headers.get("Last-Event-ID")
        asked.append(after)
        kind = {"content-type": "text/event-stream; charset=utf-8"}
        if after is None:
            return httpx.Response(200, headers=kind, stream=Broken(sse(1, 2)))
        return httpx.Response(200, headers=kind, content=sse(3, last="succeeded"))

    ids = [event.id for event in scripted(server).jobs.events("job_1")]
    assert ids == ["1-0", "2-0", "3-0", "99-0"]
    assert asked == [None, "2-0"]


def test_events_are_polled_where_streams_do_not_pass() -> None:
    pages = {
        "": ([1, 2], True),
        "2-0": ([3], False),
        "3-0": ([], False),
    }
    states = iter(["running", "succeeded"])

    def server(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/jobs/job_1":
            return httpx.Response(200, json=job_json(status=next(states)))
        if "after" not in request.url.params and "limit" not in request.url.params:
            return httpx.Response(200, json={"data": []})  # JSON, though a stream was asked for
        numbers, more = pages[request.url.params.get("after", "")]
        data = [{"id": f"{n}-0", "event": {"type": "stepped"}} for n in numbers]
        return httpx.Response(200, json={"object": "list", "data": data, "has_more": more})

    ids = [event.id for event in scripted(server).jobs.events("job_1")]
    assert ids == ["1-0", "2-0", "3-0"]


def test_events_of_an_unknown_job_are_an_error() -> None:
    client = scripted(lambda _r: httpx.Response(404, json={"title": "No such job"}))
    with pytest.raises(NotFound):
        list(client.jobs.events("job_9"))


def test_real_events_end_with_the_job(api: RunningApi, real: Client) -> None:
    job = finished_job(api, {"a.txt": b"a"}, step=1)
    types = [event.type for event in real.jobs.events(job)]
    assert types[-1] == "status"
    assert "logged" in types
