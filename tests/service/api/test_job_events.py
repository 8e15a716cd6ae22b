"""Events over a real connection: replayed, followed, resumed, ended."""

import json
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from service.api.routes import job_events as route
from tests.support.service.api import RunningApi, queued_job, running_job


class Frame(NamedTuple):
    """One server-sent event."""

    id: str
    event: str
    data: str


def frames(answer: httpx.Response) -> Iterator[Frame]:
    """Straight from the specification: fields until an empty line; comments are left out."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield Frame(fields.get("id", ""), fields.get("event", "message"), fields["data"])
            fields = {}
        else:
            fields = {}


def follow(api: RunningApi, job: str, last: str | None = None) -> list[Frame]:
    """Everything until the stream ends."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
    with api.client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        return list(frames(answer))


def stepped(step: int) -> str:
    return json.dumps({"type": "stepped", "step": step, "epoch": 0.1, "signals": {"loss": 1.5}})


@pytest.fixture(scope="module")
def ended(api: RunningApi) -> str:
    """A job with nine events: queued, running, six of its own, succeeded."""
    lease = running_job(api.store)
    api.store.queue.append(lease, [stepped(n) for n in range(6)])
    api.store.queue.complete(lease, artifacts=(), artifacts_folder="x")
    return lease.job_id


def test_replayed_whole_and_in_order(api: RunningApi, ended: str) -> None:
    found = follow(api, ended)
    rows = api.store.events.read(ended)
    assert [(one.id, json.loads(one.data)) for one in found] == [
        (place, json.loads(text)) for place, text in rows
    ]
    assert [one.event for one in found] == ["status", "status", *["stepped"] * 6, "status"]
    assert json.loads(found[-1].data)["status"] == "succeeded"


def test_resumed_at_every_place(api: RunningApi, ended: str) -> None:
    whole = follow(api, ended)
    for place, frame in enumerate(whole[:-1]):
        assert follow(api, ended, last=frame.id) == whole[place + 1 :]


def test_behind_the_end_there_is_no_more(api: RunningApi, ended: str) -> None:
    last = follow(api, ended)[-1].id
    headers = {"Accept": "text/event-stream", "Last-Event-ID": last}
    answer = api.client.get(f"/v1/jobs/{ended}/events", headers=headers)
    assert (answer.status_code, answer.content) == (204, b"")


def test_followed_live_until_the_end(api: RunningApi) -> None:
    lease = running_job(api.store)
    told: list[tuple[float, Frame]] = []

    def read() -> None:
        headers = {"Accept": "text/event-stream"}
        with api.client.stream("GET", f"/v1/jobs/{lease.job_id}/events", headers=headers) as answer:
            told.extend((time.monotonic(), frame) for frame in frames(answer))

    thread = threading.Thread(target=read)
    thread.start()
    sent_s = []
    for step in range(5):
        time.sleep(0.1)
        sent_s.append(time.monotonic())
        api.store.queue.append(lease, [stepped(step)])
    api.store.queue.fail(lease, code="oom", message="m", hint="h", retry=False)
    thread.join(10)
    assert not thread.is_alive(), "the stream did not end"
    steps = [(at, json.loads(one.data)["step"]) for at, one in told if one.event == "stepped"]
    assert [step for _, step in steps] == list(range(5))
    assert max(at - sent for (at, _), sent in zip(steps, sent_s, strict=True)) < 1.0
    assert json.loads(told[-1][1].data)["code"] == "oom"


def test_an_end_that_was_resumed_is_no_end(api: RunningApi) -> None:
    job = queued_job(api.store)
    for _ in range(2):
        api.store.jobs.cancel(job)
        api.store.jobs.resume(job)
    api.store.jobs.cancel(job)
    found = [json.loads(one.data)["status"] for one in follow(api, job)]
    assert found == ["queued", "cancelled"] * 3


def test_a_gap_is_told(api: RunningApi) -> None:
    lease = running_job(api.store)
    api.store.queue.append(lease, [stepped(n) for n in range(20)])
    api.store.queue.complete(lease, artifacts=(), artifacts_folder="x")
    whole = api.store.events.read(lease.job_id)
    stream = f"{{moco}}:ev:{lease.job_id}"
    api.store.client.run(lambda client: client.xtrim(stream, maxlen=5, approximate=False))
    for last in (None, whole[2][0]):
        found = follow(api, lease.job_id, last=last)
        assert found[0].event == "gap"
        assert json.loads(found[0].data)["type"] == "gap"
        assert [one.id for one in found[1:]] == [place for place, _ in whole[-5:]]
    kept = follow(api, lease.job_id, last=whole[-3][0])
    assert [one.id for one in kept] == [place for place, _ in whole[-2:]]


def test_a_reader_from_before_the_job_misses_nothing(api: RunningApi, ended: str) -> None:
    """A page asks for the last ten seconds; the job may be younger."""
    whole = api.store.events.read(ended)
    events = follow(api, ended, last="1-0")
    assert [event.id for event in events] == [event_id for event_id, _ in whole]


def test_pages(api: RunningApi, ended: str) -> None:
    rows = api.store.events.read(ended)
    seen: list[str] = []
    after: dict[str, str] = {}
    for _ in range(10):
        body = api.client.get(f"/v1/jobs/{ended}/events", params={"limit": "4"} | after).json()
        seen += [item["id"] for item in body["data"]]
        assert body["last_id"] == seen[-1]
        if not body["has_more"]:
            break
        after = {"after": body["last_id"]}
    assert seen == [place for place, _ in rows]


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/event-stream", "text/event-stream"),
        ("text/event-stream, application/json;q=0.5", "text/event-stream"),
        ("application/json, text/event-stream;q=0.5", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
    ],
)
def test_the_form_that_is_asked_for(accept: str, form: str, api: RunningApi, ended: str) -> None:
    headers = {"Accept": accept}
    with api.client.stream("GET", f"/v1/jobs/{ended}/events", headers=headers) as answer:
        assert answer.headers["content-type"].partition(";")[0] == form
        answer.read()


def test_silence_is_broken_by_pings(api: RunningApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "PING_S", 0.05)
    job = queued_job(api.store)
    headers = {"Accept": "text/event-stream"}
    with api.client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as answer:
        pings = 0
        for line in answer.iter_lines():
            pings += line == ": ping"
            if pings == 3:
                break
    api.store.jobs.cancel(job)
