"""Routes for the content of a dataset: a stream of raw bytes, in one part or several."""

from typing import Annotated

from fastapi import APIRouter, Header, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.api.deps import DatasetName, ServicesDep, dataset_response, json_response
from service.api.openapi import refused
from service.api.schemas.jobs_and_datasets import Dataset
from service.api.upload_headers import BODY, announced
from service.datasets.ingest_jobs import accept_upload, get_uploadable
from service.datasets.uploads import UploadOffer, held_bytes, receive, staged, staged_path
from service.server.strict_json import StrictRoute
from service.settings import ApiSettings
from service.store.records import DatasetRecord
from trainer.util.failpoints import failpoint

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=StrictRoute)


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
    openapi_extra=BODY,
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
    """Return the upload that the request and the dataset announce. Raises Problem."""
    # A failed dataset may get other content than that which was announced at first.
    is_first = record.status == "received"
    return announced(
        request,
        offset=offset,
        size_bytes=record.size_bytes if is_first else None,
        sha256=record.sha256 if is_first else None,
        settings=settings,
    )
