"""Routes for the content of a dataset: a stream of raw bytes, in one part or several."""

from typing import Annotated

from fastapi import APIRouter, Header, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.api.deps import DatasetName, ServicesDep, dataset_response, json_response
from service.api.openapi import refused
from service.api.schemas.jobs_and_datasets import Dataset
from service.datasets.ingest_jobs import accept_upload, check_size, get_uploadable
from service.datasets.uploads import UploadOffer, held_bytes, receive, staged, staged_path
from service.errors import invalid
from service.server.problems import Problem
from service.server.strict_json import StrictRoute
from service.settings import ApiSettings
from service.store.records import DatasetRecord
from trainer.util.failpoints import failpoint

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=StrictRoute)
OCTETS = {"schema": {"type": "string", "format": "binary"}}


@router.head(
    "/{id}/content",
    operation_id="headDatasetContent",
    summary="Get the upload offset",
    response_class=Response,
    response_description="`Upload-Offset` is the number of bytes received; continue there.",
    responses=refused("not_found"),
)
def head_content(id: DatasetName, services: ServicesDep) -> Response:
    """After an interrupted upload, send the rest from this offset."""
    record = services.store.datasets.get(id)
    held = held_bytes(services.settings.data_dir / staged_path(record.id))
    return Response(headers={"Upload-Offset": str(held), "Cache-Control": "no-store"})


@router.put(
    "/{id}/content",
    operation_id="uploadDataset",
    summary="Upload the content",
    response_model=Dataset,
    response_description="Upload complete; the dataset is being prepared.",
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/octet-stream": OCTETS}}
    },
    responses={
        202: {"model": Dataset, "description": "Part received; more are expected."},
        **refused(
            *("bad_header", "not_found", "request_timeout", "wrong_state", "wrong_offset"),
            *("upload_busy", "length_required", "too_large", "unsupported_media_type"),
            *("size_mismatch", "sha256_mismatch", "disk_full"),
        ),
    },
)
async def put_content(
    request: Request,
    id: DatasetName,
    services: ServicesDep,
    upload_offset: Annotated[
        int,
        Header(ge=0, lt=2**63, description="Offset of this part; 0 starts over."),
    ] = 0,
) -> Response:
    """Send the raw bytes of an archive (zip, tar, tar.gz, idx-ubyte, npy), not a form.

    Several parts are possible if `size_bytes` was given when the dataset was created: each part
    starts at the number of bytes already received. Interrupted parts are kept up to that point.
    """
    record = await run_in_threadpool(get_uploadable, services.store, id)
    offer = _announced(request, record, upload_offset, services.settings)
    path = services.settings.data_dir / staged_path(record.id)
    async with staged(path) as file:
        record = await run_in_threadpool(get_uploadable, services.store, record.id)
        received = await receive(
            file,
            request.stream(),
            offer,
            on_bytes=lambda size: services.instruments.inc("moco_upload_bytes_total", size),
        )
        if received.sha256 is None:
            return json_response(dataset_response(record, services.settings), status=202)
        failpoint("upload.pre_ingest")
        record = await run_in_threadpool(
            accept_upload,
            services.journal,
            record,
            size_bytes=received.held_bytes,
            sha256=received.sha256,
        )
    return json_response(dataset_response(record, services.settings))


def _announced(
    request: Request, record: DatasetRecord, offset: int, settings: ApiSettings
) -> UploadOffer:
    """Return the upload that the request's headers and the dataset announce. Raises Problem."""
    if "content-range" in request.headers:  # RFC 9110, 14.5: never a part taken as the whole
        hint = "Use Upload-Offset to set the start of a part."
        raise Problem("bad_header", "header/content-range: not supported for uploads.", hint=hint)
    kind = request.headers.get("content-type", "").lower()
    if kind.startswith(("multipart/", "application/x-www-form-urlencoded")):
        hint = "Send the raw bytes: `curl -T FILE`, not a form."
        raise Problem("unsupported_media_type", "The upload is a form.", hint=hint)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("unsupported_media_type", "The upload has a Content-Encoding.")
    length = request.headers.get("content-length")
    # A failed dataset may get other content than that which was announced at first.
    size = record.size_bytes if record.status == "received" else None
    if size is None:
        if length is None:
            raise Problem("length_required", "Neither size_bytes nor Content-Length was sent.")
        size = offset + int(length)
    if size == 0:
        raise invalid("header/content-length", "The content is empty.")
    check_size(size, settings)
    if length is not None and offset + int(length) > size:
        raise Problem(
            "size_mismatch", f"{offset + int(length)} bytes; the declared size is {size}."
        )
    return UploadOffer(offset, size, record.sha256 if record.status == "received" else None)
