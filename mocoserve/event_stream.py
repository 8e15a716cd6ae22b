"""Events of a job as they happen: server-sent events, or polling where a proxy blocks them."""

import time
from collections.abc import Iterable, Iterator
from json import loads

from mocoserve.errors import ApiError, Unavailable, Unreachable
from mocoserve.http import Http, backoff_s
from mocoserve.models import OVER, Event, Job

PATIENCE_S = 60.0
"""Seconds without a server after which following ends."""
_POLL_S = 1.0
_SILENCE_S = 45.0
"""Seconds without even a heartbeat after which a stream counts as dead."""


class NoStream(Exception):
    """The response is no event stream: a proxy does not let it through."""


def follow(http: Http, job: str, *, after: str | None = None) -> Iterator[Event]:
    """Yield every event after id `after` (None: all), until one that ends the job.

    After a broken connection it continues behind the last event, so none is lost or repeated.

    Raises:
        Unreachable: the server was away for a minute.
        ApiError: the API refused.
    """
    last, away_since_s, failures, streams = after, None, 0, True
    while True:
        try:
            source = _streamed(http, job, after=last) if streams else _paged(http, job, after=last)
            for event in source:
                last, away_since_s, failures = event.id, None, 0
                yield event
                if event.ends:
                    return
            if Job.model_validate(http.get(f"/v1/jobs/{job}")).status in OVER:
                yield from _paged(http, job, after=last)
                return
            away_since_s = None
        except NoStream:
            streams = False
            continue
        except (Unreachable, Unavailable):
            now_s = time.monotonic()
            away_since_s = away_since_s or now_s
            if now_s - away_since_s > PATIENCE_S:
                raise
            failures += 1
        http.pause(_POLL_S if not failures else backoff_s(failures))


def parse_sse(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (id, data) of each event in the lines of a stream; comments are heartbeats."""
    event_id, data = "", list[str]()
    for line in lines:
        if not line:
            if data:
                yield event_id, "\n".join(data)
            data = []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "id":
            event_id = value


def _streamed(http: Http, job: str, *, after: str | None) -> Iterator[Event]:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if after is not None:
        headers["Last-Event-ID"] = after
    path = f"/v1/jobs/{job}/events"
    try:
        with http.stream("GET", path, headers=headers, read_timeout_s=_SILENCE_S) as answer:
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                raise NoStream
            for event_id, data in parse_sse(answer.iter_lines()):
                yield Event(id=event_id, event=loads(data))
    except ApiError as error:
        if error.problem.status == 406:
            raise NoStream from error
        raise


def _paged(http: Http, job: str, *, after: str | None) -> Iterator[Event]:
    more, last = True, after
    while more:
        params = {"after": last, "limit": 1000}
        page = http.get(f"/v1/jobs/{job}/events", params=params)
        for item in page["data"]:
            event = Event.model_validate(item)
            last = event.id
            yield event
        more = bool(page["data"]) and bool(page["has_more"])
