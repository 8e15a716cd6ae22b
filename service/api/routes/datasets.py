"""Routes for datasets and for the reports of their ingests."""

import re
from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from service import ids
from service.api.deps import (
    DatasetName,
    IdempotencyKey,
    Limit,
    ServicesDep,
    created,
    cursor,
    dataset_response,
)
from service.api.openapi import refused
from service.api.schemas.job_history import DatasetList
from service.api.schemas.jobs_and_datasets import (
    BadFile,
    Dataset,
    DatasetChange,
    DatasetRequest,
    Report,
)
from service.datasets.ingest_jobs import allowed_source, check_size, prepare, resolved_options
from service.datasets.report import report_entries
from service.datasets.uploads import check_space, no_sender, staged_path
from service.files.disk_errors import translate_disk_errors
from service.files.safe_open import open_inside
from service.jobs.idempotency import fingerprint
from service.server.file_response import RangeFileResponse
from service.server.problems import Problem
from service.server.strict_json import StrictRoute
from service.store.records import NewDataset
from service.store.store_errors import NotFound

AfterId = Annotated[
    str | None,
    Query(
        description="Cursor: id of the last item of the previous page.",
        json_schema_extra={"pattern": ids.DATASET_ID},
    ),
]

AfterRow = Annotated[
    str | None,
    Query(
        description="Offset: number of files to skip.",
        json_schema_extra={"pattern": "^[0-9]{1,12}$"},
    ),
]

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=StrictRoute)


@router.post(
    "",
    operation_id="createDataset",
    summary="Create a dataset",
    status_code=201,
    response_model=Dataset,
    response_description="The dataset, waiting for its upload; `preparing` if it is read in place.",
    responses=refused(
        *("path_not_allowed", "not_found", "name_taken", "too_large", "invalid"),
        *("idempotency_conflict", "disk_full"),
    ),
)
def create(body: DatasetRequest, key: IdempotencyKey, services: ServicesDep) -> Response:
    """Then upload its content with `PUT /v1/datasets/{id}/content`.

    With `path`, nothing is uploaded: a folder or archive in an allowed root is read in place.
    """
    source = None if body.path is None else allowed_source(body.path, services.settings)
    options = resolved_options(body.options, services.settings)
    if body.size_bytes is not None:
        check_size(body.size_bytes, services.settings)
        check_space(services.settings.data_dir, body.size_bytes)
    new = NewDataset(
        dataset_id=ids.new_id("ds"),
        name=body.name,
        format=body.format,
        store_as=body.store_as,
        options=options,
        size_bytes=body.size_bytes,
        sha256=body.sha256,
        source=source,
        replace=body.replace,
    )
    with translate_disk_errors():
        result = services.journal.create_dataset_once(
            new,
            idempotency_key=None if key is None else f"dataset:{key}",
            fingerprint=fingerprint(body),
        )
    record = result.record
    if source is not None and record.status == "received":
        roots = services.settings.allowed_roots
        record = prepare(services.journal, record, source=source, roots=roots)
    return created(
        dataset_response(record, services.settings),
        location=f"{services.settings.root_path}/v1/datasets/{record.id}",
        replayed=result.replayed,
    )


@router.get(
    "",
    operation_id="listDatasets",
    summary="List datasets",
    response_description="One page, newest first.",
    responses=refused("bad_cursor", "invalid"),
)
def list_all(
    services: ServicesDep,
    after: AfterId = None,
    limit: Limit = 20,
) -> DatasetList:
    """All datasets, newest first."""
    page = services.store.datasets.list(after=cursor(after, ids.DATASET_ID), limit=limit)
    datasets = [dataset_response(record, services.settings) for record in page.data]
    return DatasetList.of(datasets, [dataset.id for dataset in datasets], has_more=page.has_more)


@router.get(
    "/{id}",
    operation_id="getDataset",
    summary="Get a dataset",
    response_description="The dataset.",
    responses=refused("not_found"),
)
def get(id: DatasetName, services: ServicesDep) -> Dataset:
    """Return its status and facts about its images."""
    return dataset_response(services.store.datasets.get(id), services.settings)


@router.patch(
    "/{id}",
    operation_id="changeDataset",
    summary="Rename a dataset",
    response_description="The dataset with its new name.",
    responses=refused("not_found", "name_taken", "disk_full"),
)
def change(id: DatasetName, body: DatasetChange, services: ServicesDep) -> Dataset:
    """Jobs that use it are not affected: they refer to its id."""
    record = services.store.datasets.get(id)
    with translate_disk_errors():
        record = services.journal.rename_dataset(record.id, body.name)
    return dataset_response(record, services.settings)


@router.delete(
    "/{id}",
    operation_id="deleteDataset",
    summary="Delete a dataset and its files",
    status_code=204,
    response_class=Response,
    response_description="Deleted; its disk space and its name are free.",
    responses=refused("not_found", "dataset_in_use", "upload_busy", "disk_full"),
)
def delete(id: DatasetName, services: ServicesDep) -> Response:
    """Allowed only if no queued, running or paused job needs it. Cannot be undone.

    Files read in place are not deleted. Finished jobs keep their results, but cannot be resumed.
    Repeating the request with the same id returns the same response for a day.
    """
    try:
        dataset_id = services.store.datasets.get(id).id
    except NotFound:
        if not re.fullmatch(ids.DATASET_ID, id):
            raise
        dataset_id = id  # perhaps it was deleted by an earlier request
    with no_sender(services.settings.data_dir / staged_path(dataset_id)), translate_disk_errors():
        services.journal.delete_dataset(dataset_id)
    return Response(status_code=204)


@router.get(
    "/{id}/report",
    operation_id="getDatasetReport",
    summary="List rejected files",
    response_description="Rejected files, each with its reason.",
    responses=refused("not_found", "bad_cursor", "invalid"),
)
def report(
    id: DatasetName,
    services: ServicesDep,
    after: AfterRow = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Page size.")] = 100,
) -> Report:
    """Rejected and partly used files, in order of name; also for failed ingests."""
    skip = int(cursor(after, "[0-9]{1,12}") or 0)
    record = services.store.datasets.get(id)
    entries = report_entries(services.settings.data_dir, record.id)
    return _report(entries, skip=skip, limit=limit)


@router.get(
    "/{id}/preview.png",
    operation_id="getDatasetPreview",
    summary="Get the augmentation preview",
    response_class=Response,
    response_description="Sample images, each with random views.",
    responses={
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
        **refused("not_found", "dataset_not_ready", "artifact_missing"),
    },
)
def preview(
    id: DatasetName,
    services: ServicesDep,
    unlike: Annotated[
        bool,
        Query(description="Second views with settings of their own, as for BYOL and MoCo v3."),
    ] = False,
) -> Response:
    """Created by the ingest, with recommended settings; available when the dataset is ready."""
    record = services.store.datasets.get(id)
    if record.pack is None:
        raise Problem("dataset_not_ready", f"The dataset is {record.status}.")
    try:
        name = "preview-unlike.png" if unlike else "preview.png"
        file = open_inside(services.settings.data_dir, f"{record.pack}/{name}")
    except FileNotFoundError:
        raise Problem("artifact_missing", "This dataset has no preview.") from None
    headers = {"Cache-Control": "private, max-age=3600"}
    return RangeFileResponse(file, span=None, headers=headers, media_type="image/png")


def _report(entries: Iterable[dict[str, Any]], *, skip: int, limit: int) -> Report:
    counts: dict[str, int] = {}
    kept: list[BadFile] = []
    index = 0
    for row in entries:
        try:
            bad = BadFile(name=row["name"], reason=row["reason"], detail=row.get("detail") or "")
        except (ValueError, KeyError):
            continue
        counts[bad.reason] = counts.get(bad.reason, 0) + 1
        if index >= skip and len(kept) < limit:
            kept.append(bad)
        index += 1
    return Report(counts=counts, data=kept, has_more=index > skip + len(kept))
