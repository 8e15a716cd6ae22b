"""Content of a dataset or of weights: a stream of raw bytes, in one part or several."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, Protocol, TypeVar

from fastapi import Header, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.api.deps import Services, json_response
from service.api.upload_headers import announced
from service.datasets.uploads import held_bytes, receive, staged

REFUSALS = (
    *("bad_header", "not_found", "request_timeout", "wrong_state", "wrong_offset"),
    *("upload_busy", "length_required", "too_large", "unsupported_media_type"),
    *("size_mismatch", "sha256_mismatch", "disk_full"),
)
"""Problems that an upload may end in."""
UploadOffset = Annotated[
    int, Header(ge=0, lt=2**63, description="Offset of this part; 0 starts over.")
]


class Uploadable(Protocol):
    """Record of what content is uploaded to."""

    @property
    def status(self) -> str:
        """`received` while it waits for its first content."""

    @property
    def size_bytes(self) -> int | None:
        """Size of the content, as announced."""

    @property
    def sha256(self) -> str | None:
        """sha256 of the content, as announced."""


Record = TypeVar("Record", bound=Uploadable)


@dataclass(frozen=True, slots=True)
class UploadTarget(Generic[Record]):
    """Resource that takes an upload. Its functions run in a thread, but for `path`."""

    find: Callable[[], Record]
    """Return the record. Raises NotFound, and WrongState unless it takes an upload now."""
    path: Callable[[Record], Path]
    """Return the path of the staged file."""
    accept: Callable[[Record, int, str], Record]
    """Take the whole content, of this size and sha256."""
    response: Callable[[Record], BaseModel]
    """Return the body of the response."""


async def receive_content(
    request: Request, target: UploadTarget[Record], services: Services, *, offset: int
) -> Response:
    """Receive a part that begins at `offset`. Return 202 while bytes are missing, else 200.

    Raises Problem or ServiceError, one of REFUSALS.
    """
    record = await run_in_threadpool(target.find)
    # What failed may get other content than that which was announced at first.
    is_first = record.status == "received"
    offer = announced(
        request,
        offset=offset,
        size_bytes=record.size_bytes if is_first else None,
        sha256=record.sha256 if is_first else None,
        settings=services.settings,
    )
    async with staged(target.path(record)) as file:
        record = await run_in_threadpool(target.find)
        received = await receive(
            file,
            request.stream(),
            offer,
            on_bytes=lambda size: services.instruments.inc("moco_upload_bytes_total", size),
        )
        if received.sha256 is not None:
            held, sha256 = received.held_bytes, received.sha256
            record = await run_in_threadpool(target.accept, record, held, sha256)
    body = await run_in_threadpool(target.response, record)
    return json_response(body, status=202 if received.sha256 is None else 200)


def offset_response(path: Path) -> Response:
    """Return the number of bytes of a staged file, in the header Upload-Offset."""
    headers = {"Upload-Offset": str(held_bytes(path)), "Cache-Control": "no-store"}
    return Response(headers=headers)
