"""Routes for the checkpoints of a job and for its files to download."""

import mimetypes
from functools import partial
from typing import Annotated, BinaryIO, NamedTuple

from fastapi import APIRouter, Depends, Header, Path
from starlette.responses import Response

from service.api.deps import JobId, ServicesDep
from service.api.openapi import refused
from service.api.schemas.job_history import Artifact, ArtifactList, Checkpoint, CheckpointList
from service.files.safe_open import folder_exists, open_inside
from service.observability.metrics import artifact_format
from service.server.file_response import RangeFileResponse, digest_of, etag_of, parse_range
from service.server.preconditions import require_match, tag_matches
from service.server.problems import Problem
from service.server.strict_json import StrictRoute
from service.settings import ApiSettings
from service.store.records import JobRecord
from service.store.store_errors import NotFound
from trainer.schema.artifact_names import is_artifact_name
from trainer.schema.events import FileRecord

router = APIRouter(prefix="/v1/jobs/{id}", tags=["artifacts"], route_class=StrictRoute)

Name = Annotated[
    str,
    Path(
        description="File name from the artifact list; the slash after a folder is not escaped.",
        examples=["encoder.safetensors"],
    ),
]
BINARY = {"schema": {"type": "string", "format": "binary"}}
BYTES = {"content": {"application/octet-stream": BINARY, "*/*": BINARY}}
"""A file has the media type of its name, such as `text/markdown`."""
UNCHANGED = {"description": "Not modified."}


class Conditions(NamedTuple):
    """Preconditions of a request for a file."""

    if_match: str | None
    if_none_match: str | None

    def hold(self, etag: str) -> bool:
        """Return whether the bytes are to be sent. Raises Problem `precondition_failed`."""
        require_match(self.if_match, etag)
        return self.if_none_match is None or not tag_matches(self.if_none_match, etag)


async def _conditions(
    if_match: Annotated[str | None, Header(description="Proceed only if the ETag matches.")] = None,
    if_none_match: Annotated[str | None, Header(description="ETag of the copy you have.")] = None,
) -> Conditions:
    return Conditions(if_match, if_none_match)


ConditionsOf = Annotated[Conditions, Depends(_conditions)]


@router.get(
    "/checkpoints",
    operation_id="listJobCheckpoints",
    summary="List checkpoints",
    response_description="All checkpoints, newest first.",
    responses=refused("not_found"),
)
def checkpoints(id: JobId, services: ServicesDep) -> CheckpointList:
    """Only the newest ones are kept on disk; see `available`."""
    best_step = services.store.jobs.get(id).best_step
    checkpoints = [
        Checkpoint.of(
            record,
            available=folder_exists(services.settings.data_dir, record.path),
            is_best=record.step == best_step,
        )
        for record in services.store.jobs.checkpoints(id)
    ]
    return CheckpointList.of(checkpoints, [str(record.step) for record in checkpoints])


@router.get(
    "/artifacts",
    operation_id="listJobArtifacts",
    summary="List files to download",
    response_description="The files with size and sha256; empty until the job has succeeded.",
    responses=refused("not_found"),
)
def artifacts(id: JobId, services: ServicesDep) -> ArtifactList:
    """The trained encoder in several formats, with its model card, configs and embeddings."""
    files = [Artifact.of(id, file) for file in services.store.jobs.get(id).artifacts]
    return ArtifactList.of(files, [file.name for file in files])


@router.get(
    "/artifacts/{name:path}",
    operation_id="downloadArtifact",
    summary="Download a file",
    response_class=Response,
    response_description="The file. `ETag` and `Repr-Digest` contain its sha256.",
    responses={
        200: BYTES,
        206: {"description": "The requested range.", **BYTES},
        304: UNCHANGED,
        **refused("not_found", "artifact_missing", "bad_range", "storage"),
    },
)
def download(
    id: JobId,
    name: Name,
    services: ServicesDep,
    conditions: ConditionsOf,
    range: Annotated[str | None, Header(description="One range of bytes: `bytes=0-99`.")] = None,
    if_range: Annotated[
        str | None, Header(description="Apply the range only if the ETag matches.")
    ] = None,
) -> Response:
    """To resume an interrupted download, use `Range` and `If-Range`."""
    record = services.store.jobs.get(id)
    artifact = _artifact_of(record, name)
    etag = etag_of(artifact.sha256)
    if not conditions.hold(etag):
        return Response(status_code=304, headers=artifact_headers(artifact))
    wanted = range if if_range is None or if_range.strip() == etag else None
    span = None if wanted is None else parse_range(wanted, artifact.size_bytes)
    file = _open(record, artifact, services.settings)
    kind = artifact_format(artifact.name)
    services.instruments.inc("moco_artifact_downloads_total", format=kind)
    return RangeFileResponse(
        file,
        span=span,
        headers=artifact_headers(artifact),
        media_type=media_type(artifact.name),
        on_sent=partial(services.instruments.inc, "moco_artifact_bytes_sent_total"),
    )


@router.head(
    "/artifacts/{name:path}",
    operation_id="headArtifact",
    summary="Get file metadata",
    response_class=Response,
    response_description="The headers of a download, without the content.",
    responses={304: UNCHANGED, **refused("not_found", "artifact_missing")},
)
def head(
    id: JobId,
    name: Name,
    services: ServicesDep,
    conditions: ConditionsOf,
) -> Response:
    """Return size, sha256 and media type."""
    record = services.store.jobs.get(id)
    artifact = _artifact_of(record, name)
    headers = artifact_headers(artifact)
    if not conditions.hold(headers["ETag"]):
        return Response(status_code=304, headers=headers)
    file = _open(record, artifact, services.settings)
    return RangeFileResponse(file, span=None, headers=headers, media_type=media_type(artifact.name))


def _artifact_of(record: JobRecord, name: str) -> FileRecord:
    """Only what the job's manifest names is served, whatever else lies in its folder."""
    if not is_artifact_name(name):
        raise NotFound("artifact", name[:128])
    for file in record.artifacts:
        if file.name == name:
            return file
    raise NotFound("artifact", name[:128])


def _open(record: JobRecord, artifact: FileRecord, settings: ApiSettings) -> BinaryIO:
    """The file, if it is as large as the manifest says."""
    try:
        file = open_inside(settings.data_dir, f"{record.artifacts_folder}/{artifact.name}")
    except FileNotFoundError:
        detail = f"{artifact.name} is missing from the data folder."
        raise Problem("artifact_missing", detail) from None
    size = file.seek(0, 2)
    if size != artifact.size_bytes:
        file.close()
        detail = f"{artifact.name} has {size} bytes on disk instead of {artifact.size_bytes}."
        raise Problem("storage", detail)
    return file


def artifact_headers(artifact: FileRecord) -> dict[str, str]:
    """Return the headers of a download."""
    return {
        "ETag": etag_of(artifact.sha256),
        "Repr-Digest": digest_of(artifact.sha256),
        "Accept-Ranges": "bytes",
        "Content-Disposition": _disposition(artifact.name),
        "Cache-Control": "private, no-cache",
    }


def _disposition(name: str) -> str:
    """Name the file to save: names are plain, and a folder becomes part of them."""
    return f'attachment; filename="{name.replace("/", "-")}"'


def media_type(name: str) -> str:
    """Return the media type of a file name."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
