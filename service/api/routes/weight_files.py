"""Routes for uploaded weights, which jobs begin with (`init_from`)."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from service.api.content_upload import (
    REFUSALS,
    UploadOffset,
    UploadTarget,
    offset_response,
    receive_content,
)
from service.api.deps import IdempotencyKey, Services, ServicesDep, created
from service.api.openapi import refused
from service.api.schemas import examples
from service.api.schemas.weight_files import (
    Weights,
    WeightsEncoder,
    WeightsList,
    WeightsRequest,
)
from service.api.upload_headers import BODY
from service.datasets.ingest_jobs import check_size
from service.datasets.uploads import check_space, held_bytes, no_sender
from service.jobs.idempotency import fingerprint
from service.server.problems import Problem
from service.server.strict_json import StrictRoute
from service.store.store_errors import WrongState
from service.weights.users import users_of
from service.weights.weights_content import encoder_of
from service.weights.weights_store import WeightsRecord, WeightsStore, new_weights

NAMED_MAX = 5
"""Ids of jobs in the detail of a refusal."""

router = APIRouter(prefix="/v1/weights", tags=["weights"], route_class=StrictRoute)


def _weights_store(services: ServicesDep) -> WeightsStore:
    return WeightsStore(services.settings.data_dir)


WeightsName = Annotated[
    str, Path(description="Id or name of weights.", examples=[examples.WEIGHTS["id"]])
]


def _record(id: WeightsName, services: ServicesDep) -> WeightsRecord:
    """Return the weights. Raises NotFound."""
    return _weights_store(services).get(id)


WeightsDep = Annotated[WeightsRecord, Depends(_record)]


@router.post(
    "",
    operation_id="createWeights",
    summary="Create weights",
    status_code=201,
    response_model=Weights,
    response_description="The weights, waiting for their upload.",
    responses=refused("name_taken", "too_large", "invalid", "idempotency_conflict", "disk_full"),
)
def create(body: WeightsRequest, key: IdempotencyKey, services: ServicesDep) -> Response:
    """Then upload a safetensors file with `PUT /v1/weights/{id}/content`."""
    if body.size_bytes is not None:
        check_size(body.size_bytes, services.settings)
        check_space(services.settings.data_dir, body.size_bytes)
    record, replayed = _weights_store(services).create(
        new_weights(
            body.name,
            size_bytes=body.size_bytes,
            sha256=body.sha256,
            key=key or "",
            fingerprint=fingerprint(body),
        )
    )
    location = f"{services.settings.root_path}/v1/weights/{record.id}"
    return created(_response(record, services), location=location, replayed=replayed)


@router.get(
    "",
    operation_id="listWeights",
    summary="List weights",
    response_description="All weights, newest first.",
)
def list_all(services: ServicesDep) -> WeightsList:
    """Return all weights, newest first."""
    weights = [_response(record, services) for record in _weights_store(services).list()]
    return WeightsList.of(weights, [record.id for record in weights])


@router.get(
    "/{id}",
    operation_id="getWeights",
    summary="Get weights",
    response_description="The weights.",
    responses=refused("not_found"),
)
def get(record: WeightsDep, services: ServicesDep) -> Weights:
    """Return their status, size and sha256."""
    return _response(record, services)


@router.head(
    "/{id}/content",
    operation_id="headWeightsContent",
    summary="Get the upload offset",
    response_class=Response,
    response_description="`Upload-Offset` is the number of bytes received; continue there.",
    responses=refused("not_found"),
)
def head_content(record: WeightsDep, services: ServicesDep) -> Response:
    """After an interrupted upload, send the rest from this offset."""
    return offset_response(_weights_store(services).staged(record))


@router.put(
    "/{id}/content",
    operation_id="uploadWeights",
    summary="Upload the content",
    response_model=Weights,
    response_description="Upload complete; the weights can be used.",
    openapi_extra=BODY,
    responses={
        202: {"model": Weights, "description": "Part received; more are expected."},
        **refused(*REFUSALS, "invalid"),
    },
)
async def put_content(
    request: Request,
    id: WeightsName,
    services: ServicesDep,
    upload_offset: UploadOffset = 0,
) -> Response:
    """Send the raw bytes of a safetensors file with tensors of F32, F16, BF16 and I64.

    Parts work as those of a dataset. The header is checked before anything else reads the file.
    """
    weights_store = _weights_store(services)
    target = UploadTarget(
        find=lambda: _uploadable(weights_store, id),
        path=weights_store.staged,
        accept=weights_store.complete,
        response=lambda record: _response(record, services),
    )
    return await receive_content(request, target, services, offset=upload_offset)


@router.delete(
    "/{id}",
    operation_id="deleteWeights",
    summary="Delete weights",
    status_code=204,
    response_class=Response,
    response_description="Deleted; the disk space and the name are free.",
    responses=refused("not_found", "weights_in_use", "upload_busy", "disk_full"),
)
def delete(record: WeightsDep, services: ServicesDep) -> Response:
    """Allowed only if no queued, running or paused job began with them. Cannot be undone.

    Finished jobs can still be resumed: each has a copy of its own.
    """
    weights_store = _weights_store(services)
    if jobs := users_of(record, services.store):
        more = f" and {len(jobs) - NAMED_MAX} more" if len(jobs) > NAMED_MAX else ""
        detail = f"Not ended, and began with {record.name}: {', '.join(jobs[:NAMED_MAX])}{more}."
        raise Problem("weights_in_use", detail, jobs=jobs)
    with no_sender(weights_store.staged(record)):
        weights_store.delete(record)
    return Response(status_code=204)


def _uploadable(weights_store: WeightsStore, name: str) -> WeightsRecord:
    """Return the weights if they wait for their bytes, or failed. Raises NotFound, WrongState."""
    record = weights_store.get(name)
    if record.status == "ready":
        reason = "The weights are ready; their content cannot be replaced."
        raise WrongState(record.status, "upload", reason)
    return record


def _response(record: WeightsRecord, services: Services) -> Weights:
    weights_store = _weights_store(services)
    if record.status != "ready":
        held = held_bytes(weights_store.staged(record))
        return Weights.of(record, received_bytes=held, encoder=None)
    fitting = encoder_of(weights_store.data_dir, record)
    encoder = None if fitting is None else WeightsEncoder.of(fitting)
    return Weights.of(record, received_bytes=record.size_bytes or 0, encoder=encoder)
