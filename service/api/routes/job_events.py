"""Routes for the events of a job: as pages of JSON, or live as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.api.deps import STREAM_ID, JobId, ServicesDep, cursor, json_response
from service.api.openapi import refused
from service.api.schemas.job_history import EventItem, EventList
from service.server.problems import Problem
from service.server.strict_json import StrictRoute
from service.store.event_subscriptions import Subscription
from service.store.records import TERMINAL
from service.store.store import Store

AfterEvent = Annotated[
    str | None,
    Query(
        description="Cursor: id of the last event received.",
        json_schema_extra={"pattern": f"^{STREAM_ID.pattern}$"},
    ),
]

router = APIRouter(prefix="/v1/jobs/{id}", tags=["following"], route_class=StrictRoute)

PING_S = 15.0
RETRY_MS = 1000
JSON, SSE = "application/json", "text/event-stream"
GAP = "Older events were deleted. The job and its metrics are complete."


@router.get(
    "/events",
    operation_id="getJobEvents",
    summary="List or stream events",
    response_model=EventList,
    response_description="One page, oldest first; or the stream, which ends when the job does.",
    responses={
        200: {"content": {SSE: {"schema": {"type": "string"}}}},
        204: {"description": "The job has ended and there are no more events."},
        **refused("not_found", "not_acceptable", "bad_cursor", "invalid"),
    },
)
async def events(
    id: JobId,
    services: ServicesDep,
    accept: Annotated[str, Header(description=f"`{SSE}` for the live stream.")] = "*/*",
    last_event_id: Annotated[
        str | None, Header(description="Cursor for streams: id of the last event received.")
    ] = None,
    after: AfterEvent = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Page size.")] = 100,
) -> Response:
    """Status changes, progress, evaluations, checkpoints and log lines of all attempts.

    In the stream, `id` is the event id, `event` the type and `data` the event as JSON. `event: gap`
    means that some events were already deleted.
    """
    form = _form(accept)
    last_event_id = last_event_id or None  # an empty one names no event
    behind = cursor(last_event_id or after, STREAM_ID.pattern)
    job = await run_in_threadpool(services.store.jobs.get, id)
    if form == JSON:
        return json_response(await run_in_threadpool(_page, services.store, id, behind, limit))
    if last_event_id is not None and job.status in TERMINAL:
        rest = await run_in_threadpool(services.store.events.read, id, after=last_event_id, limit=1)
        if not rest:
            return Response(status_code=204)  # tells a browser not to come again
    gap = await run_in_threadpool(_has_gap, services.store, id, behind)
    following = services.broadcaster.subscribe(id, after=behind or "-")
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventSourceResponse(_stream(following, services.store, gap=gap), headers=headers)


def _form(accept: str) -> str:
    """Return the form that the sender prefers. Raises Problem `not_acceptable`."""
    wishes = dict[str, float]()
    for part in accept.lower().split(","):
        kind, _, parameters = part.partition(";")
        wishes[kind.strip()] = _quality(parameters)
    anything = wishes.get("*/*", 0.0)
    json_wish = wishes.get(JSON, wishes.get("application/*", anything))
    sse_wish = wishes.get(SSE, wishes.get("text/*", 0.0))
    if max(json_wish, sse_wish) <= 0.0:
        raise Problem("not_acceptable", f"header/accept: {accept[:128]}")
    return SSE if sse_wish > json_wish else JSON


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0


def _page(store: Store, id: str, behind: str | None, limit: int) -> EventList:
    rows = store.events.read(id, after=behind or "-", limit=limit + 1)
    items = [EventItem(id=event_id, event=json.loads(text)) for event_id, text in rows[:limit]]
    return EventList.of(items, [item.id for item in items], has_more=len(rows) > limit)


def _has_gap(store: Store, id: str, behind: str | None) -> bool:
    """Return whether events this reader has not seen were removed from the start of the stream."""
    first = store.events.read(id, limit=1)
    if not first:
        return False
    event_id, text = first[0]
    event = json.loads(text)
    if (event.get("type"), event.get("status"), event.get("attempt")) == ("status", "queued", 0):
        return False
    return behind is None or _order(behind) < _order(event_id)


def _order(event_id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in event_id.split("-"))


async def _stream(following: Subscription, store: Store, *, gap: bool) -> AsyncIterator[bytes]:
    """Yield frames until the job has ended or the service shuts down; a ping while idle."""
    yield format_sse_event(comment="following", retry=RETRY_MS)
    if gap:
        yield format_sse_event(event="gap", data_str=json.dumps({"type": "gap", "message": GAP}))
    while True:
        try:
            first = await asyncio.wait_for(anext(following), PING_S)
        except TimeoutError:
            yield KEEPALIVE_COMMENT
            continue
        except StopAsyncIteration:
            return
        frames = list[bytes]()
        # A reader that is behind gets all waiting events in one piece, so it catches up.
        for event_id, text in [first, *following.waiting()]:
            frame, is_end = _frame(event_id, text)
            frames.append(frame)
            if is_end and not await run_in_threadpool(_resumed, following.job_id, event_id, store):
                yield b"".join(frames)
                return
        yield b"".join(frames)


@lru_cache(maxsize=1024)
def _frame(event_id: str, text: str) -> tuple[bytes, bool]:
    """Return an event as a frame, and whether it ends its job. Cached for all followers."""
    event = json.loads(text)
    is_end = event["type"] == "status" and event["status"] in TERMINAL
    return format_sse_event(id=event_id, event=event["type"], data_str=text), is_end


def _resumed(job_id: str, event_id: str, store: Store) -> bool:
    """Return whether events follow: a resumed job has several ends in its stream."""
    return bool(store.events.read(job_id, after=event_id, limit=1))
