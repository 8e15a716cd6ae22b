"""Routes for the content of a dataset: a stream of raw bytes, in one part or several."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.content_upload import (
    REFUSALS,
    UploadOffset,
    UploadTarget,
    offset_response,
    receive_content,
)
from service.api.deps import DatasetName, ServicesDep, dataset_response
from service.api.openapi import refused
from service.api.schemas.jobs_and_datasets import Dataset
from service.api.upload_headers import BODY
from service.datasets.ingest_jobs import accept_upload, get_uploadable
from service.datasets.uploads import staged_path
from service.server.strict_json import StrictRoute
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
    return offset_response(services.settings.data_dir / staged_path(record.id))


@router.put(
    "/{id}/content",
    operation_id="uploadDataset",
    summary="Upload the content",
    response_model=Dataset,
    response_description="Upload complete; the dataset is being prepared.",
    openapi_extra=BODY,
    responses={
        202: {"model": Dataset, "description": "Part received; more are expected."},
        **refused(*REFUSALS),
    },
)
async def put_content(
    request: Request,
    id: DatasetName,
    services: ServicesDep,
    upload_offset: UploadOffset = 0,
) -> Response:
    """Send the raw bytes of an archive (zip, tar, tar.gz, idx-ubyte, npy), not a form.

    Several parts are possible if `size_bytes` was given when the dataset was created: each part
    starts at the number of bytes already received. Interrupted parts are kept up to that point.
    """
    data_dir = services.settings.data_dir

    def accept(record: DatasetRecord, size_bytes: int, sha256: str) -> DatasetRecord:
        failpoint("upload.pre_ingest")
        return accept_upload(services.journal, record, size_bytes=size_bytes, sha256=sha256)

    target = UploadTarget(
        find=lambda: get_uploadable(services.store, id),
        path=lambda record: data_dir / staged_path(record.id),
        accept=accept,
        response=lambda record: dataset_response(record, services.settings),
    )
    return await receive_content(request, target, services, offset=upload_offset)
