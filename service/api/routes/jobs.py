"""Routes for jobs: submit, list, show, control, delete."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Header, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service import ids
from service.api.deps import (
    IdempotencyKey,
    JobId,
    Limit,
    Services,
    ServicesDep,
    created,
    cursor,
    json_response,
)
from service.api.openapi import refused
from service.api.schemas import examples
from service.api.schemas.job_history import JobList, Preview
from service.api.schemas.jobs_and_datasets import Job
from service.errors import invalid
from service.files.disk_errors import translate_disk_errors
from service.files.disk_usage import folder_bytes
from service.jobs.neighbour_jobs import forget_of_job
from service.jobs.planner import preview
from service.jobs.submit_batcher import SubmitBatcher
from service.ledger.entries import Verb
from service.server.preconditions import require_match, tag_matches
from service.server.problems import Problem
from service.server.strict_json import StrictRoute
from service.store.records import JobRecord, Status
from service.store.store import Store
from service.store.store_errors import NotFound
from trainer.spec.job import JobSpec

AfterId = Annotated[
    str | None,
    Query(
        description="Cursor: id of the last item of the previous page.",
        json_schema_extra={"pattern": ids.JOB_ID},
    ),
]

IfMatch = Annotated[str | None, Header(description="Proceed only if the job's ETag matches.")]

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=StrictRoute)


async def _submit_batcher(request: Request) -> SubmitBatcher:
    submit_batcher: SubmitBatcher = request.app.state.submit_batcher
    return submit_batcher


BatcherDep = Annotated[SubmitBatcher, Depends(_submit_batcher)]


@router.post(
    "",
    operation_id="createJob",
    summary="Submit a job",
    status_code=201,
    response_model=Job,
    response_description="The queued job; `Location` is its URL.",
    responses={
        200: {"model": Preview, "description": "With `dry_run=true`: the preview."},
        **refused("dataset_not_ready", "bad_header", "bad_spec", "invalid", "idempotency_conflict"),
    },
)
async def create(  # waiting for the batch needs no thread
    spec: Annotated[JobSpec, Body(openapi_examples=examples.JOB_SPECS)],
    key: IdempotencyKey,
    services: ServicesDep,
    submit_batcher: BatcherDep,
    dry_run: Annotated[
        bool, Query(description="Return the resolved spec, steps, time and memory; start nothing.")
    ] = False,
) -> Response:
    """Only `dataset` is required; other settings have recommended values, each with a reason."""
    if dry_run:
        planned = await run_in_threadpool(preview, spec, services.journal)
        return json_response(Preview.of(planned))
    try:
        with translate_disk_errors():
            done = await submit_batcher.submit(spec, key=None if key is None else f"user:{key}")
    except NotFound as error:  # deleted between the plan and the queue
        field = "dataset" if error.what == "dataset" else "spec"
        raise invalid(f"#/{field}", str(error), code="no_dataset") from None
    record = done.record
    if record is None:  # an earlier request made it, and it was deleted since
        record = await run_in_threadpool(services.store.jobs.get, done.job_id)
    return created(
        Job.of(record),
        location=f"{services.settings.root_path}/v1/jobs/{done.job_id}",
        replayed=done.replayed,
    )


@router.get(
    "",
    operation_id="listJobs",
    summary="List jobs",
    response_description="One page, newest first.",
    responses=refused("bad_cursor", "invalid"),
)
def list_all(
    services: ServicesDep,
    status: Annotated[
        list[Status] | None, Query(description="Filter by status; repeatable.")
    ] = None,
    after: AfterId = None,
    limit: Limit = 20,
) -> JobList:
    """All training jobs, newest first."""
    behind = cursor(after, ids.JOB_ID)
    records, has_more = _page(services.store, set(status or ()), after=behind, limit=limit)
    workers = (
        services.store.workers.list()
        if any(record.status == "queued" for record in records)
        else None
    )
    jobs = [Job.of(record, workers=workers) for record in records]
    return JobList.of(jobs, [record.id for record in records], has_more=has_more)


@router.get(
    "/{id}",
    operation_id="getJob",
    summary="Get a job",
    response_model=Job,
    response_description="The job. `ETag` changes with every change of the job.",
    responses={
        304: {"description": "Not modified."},
        **refused("not_found"),
    },
)
def get(
    id: JobId,
    services: ServicesDep,
    if_none_match: Annotated[str | None, Header(description="ETag of an earlier response.")] = None,
    if_match: IfMatch = None,
) -> Response:
    """Return its status, its complete spec and its progress."""
    record = services.store.jobs.get(id)
    job = _shown(record, services.store)
    etag = _etag(job)
    require_match(if_match, etag)
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if if_none_match is not None and tag_matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    stored_bytes = folder_bytes(services.settings.data_dir / record.folder)
    return json_response(job.model_copy(update={"stored_bytes": stored_bytes}), headers=headers)


@router.post(
    "/{id}/cancel",
    operation_id="cancelJob",
    summary="Cancel a job",
    response_model=Job,
    response_description="Cancelled.",
    responses={
        202: {"model": Job, "description": "Still running; its worker was asked to stop."},
        **refused("not_found", "wrong_state"),
    },
)
def cancel(id: JobId, services: ServicesDep, if_match: IfMatch = None) -> Response:
    """Its checkpoints are kept, so it can be resumed."""
    return _controlled(_control(id, "cancel", services, if_match))


@router.post(
    "/{id}/pause",
    operation_id="pauseJob",
    summary="Pause a job",
    response_model=Job,
    response_description="Paused.",
    responses={
        202: {"model": Job, "description": "Still running; it will save a checkpoint and stop."},
        **refused("not_found", "wrong_state"),
    },
)
def pause(id: JobId, services: ServicesDep, if_match: IfMatch = None) -> Response:
    """Save a checkpoint and free the worker."""
    return _controlled(_control(id, "pause", services, if_match))


@router.post(
    "/{id}/resume",
    operation_id="resumeJob",
    summary="Resume a job",
    response_description="Queued again.",
    responses=refused("not_found", "wrong_state"),
)
def resume(id: JobId, services: ServicesDep, if_match: IfMatch = None) -> Job:
    """Continue a paused, cancelled or failed job from its last checkpoint."""
    return Job.of(_control(id, "resume", services, if_match))


@router.delete(
    "/{id}",
    operation_id="deleteJob",
    summary="Delete a job and its files",
    status_code=204,
    response_class=Response,
    response_description="Deleted, with its checkpoints and artifacts.",
    responses=refused("not_found", "wrong_state"),
)
def delete(id: JobId, services: ServicesDep, if_match: IfMatch = None) -> Response:
    """Allowed only for finished jobs. Cannot be undone."""
    record = services.store.jobs.get(id)
    _require_match(if_match, record, services.store)
    if record.kind == "ingest":
        raise Problem("wrong_state", "An ingest job belongs to its dataset.")
    with translate_disk_errors():
        services.journal.delete(id)
    forget_of_job(services.store, services.settings.data_dir, id)
    return Response(status_code=204)


def _control(id: str, verb: Verb, services: Services, if_match: str | None) -> JobRecord:
    if if_match is not None:
        _require_match(if_match, services.store.jobs.get(id), services.store)
    with translate_disk_errors():
        return services.journal.control(id, verb)


def _require_match(if_match: str | None, record: JobRecord, store: Store) -> None:
    """Raise Problem `precondition_failed` if the job is not what the sender has seen."""
    if if_match is not None:
        require_match(if_match, _etag(_shown(record, store)))


def _shown(record: JobRecord, store: Store) -> Job:
    """The job, with the reason why it waits."""
    workers = store.workers.list() if record.status == "queued" else None
    return Job.of(record, workers=workers)


def _etag(job: Job) -> str:
    digest = hashlib.sha256(job.model_dump_json().encode()).hexdigest()[:16]
    return f'"{job.version}-{digest}"'


def _controlled(record: JobRecord) -> Response:
    """200 when it took effect, 202 while the worker still has to follow."""
    return json_response(Job.of(record), status=202 if record.status == "stopping" else 200)


def _page(
    store: Store, statuses: set[Status], *, after: str | None, limit: int
) -> tuple[list[JobRecord], bool]:
    """Jobs of several statuses as one list: ids sort by time, so pages can be merged."""
    wanted: list[Status | None] = [*statuses] or [None]
    pages = [store.jobs.list(status=status, after=after, limit=limit) for status in wanted]
    records = [record for page in pages for record in page.data]
    merged = sorted(records, key=lambda record: record.id, reverse=True)
    return merged[:limit], len(merged) > limit or any(page.has_more for page in pages)
