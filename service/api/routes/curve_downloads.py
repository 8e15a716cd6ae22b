"""Routes for the curves of a job as files: its `metrics.jsonl`, and the same for TensorBoard."""

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from service.api.deps import JobId, ServicesDep
from service.api.openapi import refused
from service.curves.reader import BLOCK_BYTES, open_newest
from service.curves.step_index import ALL, blocks_of, span_of
from service.curves.tensorboard import event_file
from service.server.file_response import CHUNK_BYTES
from service.server.strict_json import StrictRoute

router = APIRouter(prefix="/v1/jobs/{id}", tags=["following"], route_class=StrictRoute)

FILE = "metrics.jsonl"
LINES_TYPE, EVENTS_TYPE = "application/jsonl", "application/octet-stream"


@router.get(
    "/metrics.jsonl",
    operation_id="downloadJobMetrics",
    summary="Download metrics.jsonl",
    response_class=Response,
    response_description="One JSON object per line: step, epoch and every signal of that step.",
    responses={
        200: {"content": {LINES_TYPE: {"schema": {"type": "string"}}}},
        **refused("not_found"),
    },
)
def lines(id: JobId, services: ServicesDep) -> Response:
    """The file of the latest attempt, with the full history; empty before the first reading."""
    newest = open_newest(services.settings.data_dir, services.store.jobs.get(id).folder, FILE)
    headers = _headers(FILE)
    if newest is None:
        return Response(b"", headers=headers, media_type=LINES_TYPE)
    size_bytes = whole_lines_bytes(newest[1])
    headers["Content-Length"] = str(size_bytes)
    blocks = _blocks(newest[1], size_bytes)
    return StreamingResponse(blocks, headers=headers, media_type=LINES_TYPE)


@router.get(
    "/tensorboard",
    operation_id="downloadJobEvents",
    summary="Download a TensorBoard event file",
    response_class=Response,
    response_description="Event file for `tensorboard --logdir`, with every signal as a scalar.",
    responses={
        200: {"content": {EVENTS_TYPE: {"schema": {"type": "string", "format": "binary"}}}},
        **refused("not_found"),
    },
)
def events(id: JobId, services: ServicesDep) -> Response:
    """Generated from `metrics.jsonl` on the fly, up to the current step."""
    job = services.store.jobs.get(id)
    newest = open_newest(services.settings.data_dir, job.folder, FILE)
    began_s = job.started_at_s or job.created_at_s
    blocks = event_file(_lines(newest[1]) if newest else (), wall_time_s=began_s)
    # Make the first block here, so that a file that cannot be read gives an error response.
    whole = chain([next(blocks)], blocks)
    headers = _headers(f"events.out.tfevents.{int(began_s)}.{id}")
    return StreamingResponse(whole, headers=headers, media_type=EVENTS_TYPE)


def whole_lines_bytes(file: BinaryIO) -> int:
    """Return the length of the whole lines of a file: the last line may be half-written."""
    end = file.seek(0, 2)
    while end:
        start = max(0, end - BLOCK_BYTES)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _blocks(file: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while size_bytes and (block := file.read(min(CHUNK_BYTES, size_bytes))):
            size_bytes -= len(block)
            yield block


def _lines(file: BinaryIO) -> Iterator[bytes]:
    with file:
        yield from blocks_of(file, span_of(file, ALL))


def _headers(name: str) -> dict[str, str]:
    return {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "private, no-cache",
    }
