"""Routes for neighbour searches (probes), by rows of the dataset or by an image that is sent."""

import re
import shutil
from contextlib import suppress
from pathlib import Path as FilePath
from typing import Annotated, BinaryIO, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from service import ids
from service.api.deps import JobId, Services, ServicesDep, json_response
from service.api.openapi import refused
from service.api.schemas.neighbours import PROBE_ID, Probe, ProbeList, ProbeRequest, ProbeResult
from service.errors import ServiceError, invalid
from service.files.disk_errors import translate_disk_errors
from service.files.safe_open import open_inside
from service.jobs.neighbour_jobs import IMAGE, Probes, StoredQuery
from service.server.file_response import RangeFileResponse
from service.server.problems import Problem
from service.server.strict_json import StrictRoute, check, read_json_body
from service.store.records import JobRecord
from service.store.store_errors import NotFound
from trainer.modalities.image.formats.magic import format_of
from trainer.schema.artifact_names import ANSWER

router = APIRouter(prefix="/v1/jobs/{id}/probes", tags=["neighbours"], route_class=StrictRoute)

IMAGE_BYTES_MAX = 20_000_000
HEAD_BYTES = 12
"""Bytes at the start of a file that identify the formats below."""
FORMATS = frozenset({"JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM"})
"""Formats that may be sent; the worker checks the rest of the bytes."""
FORMATS_HINT = "Send a jpg, png, webp, tif, bmp or ppm file with `Content-Type: image/*`."
LISTED = 100
BINARY = {"schema": {"type": "string", "format": "binary"}}

ProbeName = Annotated[str, Path(description="Id of a search.", examples=[PROBE_ID])]
Picture = Annotated[
    Literal["sheet.png", "tiles.png"],
    Path(description="`sheet.png` has captions; `tiles.png` has tiles without gaps, for programs."),
]


@router.post(
    "",
    operation_id="createProbe",
    summary="Find nearest neighbors",
    status_code=202,
    response_model=Probe,
    response_description="The queued search; `Location` is the URL of its result.",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/ProbeRequest"}},
                "image/*": BINARY,
            },
        }
    },
    responses=refused(
        *("not_found", "wrong_state", "no_encoder", "artifact_missing", "too_many_probes"),
        *("request_timeout", "too_large", "unsupported_media_type", "invalid", "disk_full"),
    ),
)
async def create(
    request: Request,
    id: JobId,
    services: ServicesDep,
    checkpoint: Annotated[
        int | None, Query(ge=0, lt=2**53, description="For image queries: as in the JSON form.")
    ] = None,
    k: Annotated[
        int, Query(ge=1, le=50, description="For image queries: number of neighbors.")
    ] = 10,
) -> Response:
    """Send row numbers of the dataset as JSON, or the bytes of an image.

    The same query within a day returns the earlier search.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = kind == "application/json"
    if not is_json and not kind.startswith("image/"):
        raise Problem(
            "unsupported_media_type",
            f"The Content-Type is {kind[:64] or 'missing'}.",
            hint=f"{FORMATS_HINT} Or ask about rows in JSON.",
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("unsupported_media_type", "The body is compressed.", hint=FORMATS_HINT)
    wanted = await _read_json(request) if is_json else ProbeRequest(checkpoint=checkpoint, k=k)
    query = StoredQuery(**wanted.model_dump(), is_image=not is_json)
    probes = await run_in_threadpool(_probes, services, id)
    source = await run_in_threadpool(probes.check, query)
    probe_id = ids.new_id("probe")
    folder = services.settings.data_dir / probes.folder / probe_id
    try:
        if not is_json:
            await _receive(request, folder)
        with translate_disk_errors():
            done = await run_in_threadpool(probes.submit, query, source, probe_id=probe_id)
    except (ServiceError, Problem, ClientDisconnect):
        await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)
        raise
    record = await run_in_threadpool(probes.get, done.job_id)
    root_path = services.settings.root_path
    headers = {"Location": f"{root_path}/v1/jobs/{id}/probes/{done.job_id}"}
    made = Probe.of(record, job_id=id, root_path=root_path)
    return json_response(made, status=202, headers=headers)


@router.get(
    "",
    operation_id="listProbes",
    summary="List searches",
    response_description="Searches of the last day, newest first.",
    responses=refused("not_found"),
)
def list_all(id: JobId, services: ServicesDep) -> ProbeList:
    """At most 100, without results."""
    probes: list[Probe] = []
    for record in _probes(services, id).all():
        if len(probes) == LISTED:
            break
        probes.append(Probe.of(record, job_id=id, root_path=services.settings.root_path))
    return ProbeList.of(probes, [probe.id for probe in probes])


@router.get(
    "/{probe_id}",
    operation_id="getProbe",
    summary="Get a search",
    response_description="The search, with its results when it has succeeded.",
    responses=refused("not_found", "artifact_missing"),
)
def get(id: JobId, probe_id: ProbeName, services: ServicesDep) -> Probe:
    """Poll until its status is `succeeded` or `failed`; it takes seconds."""
    record = _probe_of(services, id, probe_id)
    root_path = services.settings.root_path
    return Probe.of(record, job_id=id, root_path=root_path, result=_result(record, services))


@router.get(
    "/{probe_id}/{picture}",
    operation_id="getProbePicture",
    summary="Get a contact sheet",
    response_class=Response,
    response_description="The image.",
    responses={
        200: {"content": {"image/png": BINARY}},
        **refused("not_found", "wrong_state", "artifact_missing"),
    },
)
def picture(id: JobId, probe_id: ProbeName, picture: Picture, services: ServicesDep) -> Response:
    """One row per query: the query image, then its neighbors."""
    record = _probe_of(services, id, probe_id)
    file = _open(record, picture, services)
    headers = {"Cache-Control": "private, max-age=86400"}
    return RangeFileResponse(file, span=None, headers=headers, media_type="image/png")


def _probes(services: Services, id: str) -> Probes:
    return Probes(services.store, services.settings.data_dir, services.store.jobs.get(id))


def _probe_of(services: Services, id: str, probe_id: str) -> JobRecord:
    if not re.fullmatch(ids.PROBE_ID, probe_id):
        raise NotFound("probe", probe_id[:64])
    with suppress(NotFound):
        return _probes(services, id).get(probe_id)
    services.store.jobs.get(id)
    raise NotFound("probe", probe_id)


def _open(record: JobRecord, name: str, services: Services) -> BinaryIO:
    if record.status != "succeeded" or record.artifacts_folder is None:
        raise Problem("wrong_state", f"The search is {record.status}.")
    try:
        return open_inside(services.settings.data_dir, f"{record.artifacts_folder}/{name}")
    except FileNotFoundError:
        detail = f"{name} of this search is missing from the data folder."
        raise Problem(
            "artifact_missing", detail, hint="Search again: results are kept for a day."
        ) from None


def _result(record: JobRecord, services: Services) -> ProbeResult | None:
    if record.status != "succeeded":
        return None
    with _open(record, ANSWER, services) as file:
        return ProbeResult.model_validate_json(file.read())


async def _read_json(request: Request) -> ProbeRequest:
    """Read the JSON form. Raises Problem, RequestValidationError."""
    value = check(await read_json_body(request))
    try:
        return ProbeRequest.model_validate(value)
    except ValidationError as error:
        errors = [{**row, "loc": ("body", *row["loc"])} for row in error.errors()]
        raise RequestValidationError(errors, body=value) from None


async def _receive(request: Request, folder: FilePath) -> None:
    """Put the image into the folder of the probe, whole.

    Raises Problem, ServiceError, ClientDisconnect.
    """
    length = request.headers.get("content-length")
    if length is not None and int(length) > IMAGE_BYTES_MAX:
        raise _too_large()
    file, size_bytes, head = await run_in_threadpool(_begun, folder), 0, b""
    with file:
        async for chunk in request.stream():
            if len(head) < HEAD_BYTES:
                head += chunk[: HEAD_BYTES - len(head)]
                if len(head) >= HEAD_BYTES and format_of(head) not in FORMATS:
                    raise _no_image(head)
            size_bytes += len(chunk)
            if size_bytes > IMAGE_BYTES_MAX:
                raise _too_large()
            with translate_disk_errors():
                await run_in_threadpool(file.write, chunk)
    if not size_bytes:
        raise invalid("body", "The image is empty.")
    if format_of(head) not in FORMATS:
        raise _no_image(head)
    (folder / f"{IMAGE}.part").rename(folder / IMAGE)


def _begun(folder: FilePath) -> BinaryIO:
    with translate_disk_errors():
        folder.mkdir(parents=True)
        return (folder / f"{IMAGE}.part").open("xb")


def _too_large() -> Problem:
    return Problem(
        "too_large",
        f"An image may have at most {IMAGE_BYTES_MAX} bytes.",
        hint="Save a smaller copy: the encoder uses no more than a few hundred pixels per side.",
    )


def _no_image(first: bytes) -> Problem:
    what = "a GIF" if format_of(first) == "GIF" else "not in a supported format"
    return Problem("unsupported_media_type", f"The file is {what}.", hint=FORMATS_HINT)
