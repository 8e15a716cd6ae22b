"""Routes for the encoder of a checkpoint: of a job that is paused, cancelled, or still runs."""

import hashlib
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.responses import Response, StreamingResponse

from service.api.deps import JobId, Services, ServicesDep
from service.api.openapi import refused
from service.api.routes.artifacts import BYTES, Name, artifact_headers, media_type
from service.api.schemas.job_history import Artifact, ArtifactList
from service.files.checkpoint_encoder import DESCRIBED, open_described, open_encoder
from service.files.safe_open import folder_exists
from service.observability.metrics import artifact_format
from service.server.problems import Problem
from service.server.strict_json import StrictRoute
from service.store.records import CheckpointRecord
from service.store.store_errors import NotFound
from trainer.schema.artifact_names import WEIGHTS
from trainer.schema.events import FileRecord

LATEST, BEST = "latest", "best"
router = APIRouter(
    prefix="/v1/jobs/{id}/checkpoints/{step}", tags=["artifacts"], route_class=StrictRoute
)


def _checkpoint(
    id: JobId,
    step: Annotated[
        str,
        Path(description="Step of a checkpoint, `latest`, or `best`.", examples=["900"]),
    ],
    services: ServicesDep,
) -> CheckpointRecord:
    """Return a checkpoint that is on the disk. Raises NotFound, Problem `artifact_missing`."""
    job = services.store.jobs.get(id)
    step = str(job.best_step) if step == BEST else step
    records = services.store.jobs.checkpoints(id)
    candidates = [it for it in records if step in {LATEST, str(it.step)}]
    for record in candidates:
        if folder_exists(services.settings.data_dir, record.path):
            return record
    if candidates and step != LATEST:
        raise _missing(f"The checkpoint of step {step} was replaced by newer ones.")
    raise NotFound("checkpoint", step[:64])


CheckpointDep = Annotated[CheckpointRecord, Depends(_checkpoint)]


@router.get(
    "/artifacts",
    operation_id="listCheckpointFiles",
    summary="List the files of a checkpoint's encoder",
    response_description="The files with size and sha256.",
    responses=refused("not_found", "artifact_missing", "storage"),
)
def artifacts(id: JobId, checkpoint: CheckpointDep, services: ServicesDep) -> ArtifactList:
    """The encoder as it was at this step, of a job in any state, and how to load it."""
    records = _records(checkpoint, services)
    folder = f"checkpoints/{checkpoint.step}/artifacts"
    files = [Artifact.of(id, record, folder=folder) for record in records]
    return ArtifactList.of(files, [file.name for file in files])


@router.get(
    "/artifacts/{name}",
    operation_id="downloadCheckpointFile",
    summary="Download a file of a checkpoint's encoder",
    response_class=Response,
    response_description="The file. `ETag` and `Repr-Digest` contain its sha256.",
    responses={200: BYTES, **refused("not_found", "artifact_missing", "storage")},
)
def download(checkpoint: CheckpointDep, name: Name, services: ServicesDep) -> Response:
    """The weights are read out of the checkpoint while they are sent, always as a whole."""
    kind = artifact_format(name)
    services.instruments.inc("moco_artifact_downloads_total", format=kind)
    if name in DESCRIBED:
        data = _described(checkpoint, name, services)
        return Response(data, headers=_headers(_record(name, data)), media_type=media_type(name))
    if name != WEIGHTS:
        raise NotFound("artifact", name[:128])
    try:
        weights = open_encoder(services.settings.data_dir, checkpoint)
    except FileNotFoundError:
        raise _gone(checkpoint) from None
    headers = _headers(weights.record)

    def counted() -> Iterator[bytes]:
        for block in weights.blocks():
            services.instruments.inc("moco_artifact_bytes_sent_total", len(block))
            yield block

    return StreamingResponse(counted(), headers=headers, media_type=media_type(name))


def _records(checkpoint: CheckpointRecord, services: Services) -> list[FileRecord]:
    try:
        weights = open_encoder(services.settings.data_dir, checkpoint)
    except FileNotFoundError:
        raise _gone(checkpoint) from None
    weights.file.close()
    described = [_record(name, _described(checkpoint, name, services)) for name in DESCRIBED]
    return [*described, weights.record]


def _described(checkpoint: CheckpointRecord, name: str, services: Services) -> bytes:
    try:
        with open_described(services.settings.data_dir, checkpoint, name) as file:
            return file.read()
    except FileNotFoundError:
        detail = f"{name} is not kept for checkpoints of older versions."
        hint = "Resume the job; its next checkpoint has the file."
        raise Problem("artifact_missing", detail, hint=hint) from None


def _record(name: str, data: bytes) -> FileRecord:
    return FileRecord(name=name, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def _headers(record: FileRecord) -> dict[str, str]:
    headers = artifact_headers(record) | {"Content-Length": str(record.size_bytes)}
    return {name: value for name, value in headers.items() if name != "Accept-Ranges"}


def _gone(checkpoint: CheckpointRecord) -> Problem:
    return _missing(f"The checkpoint of step {checkpoint.step} was replaced by newer ones.")


def _missing(detail: str) -> Problem:
    return Problem("artifact_missing", detail, hint="Choose one that the list calls available.")
