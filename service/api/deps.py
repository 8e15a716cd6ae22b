"""Dependencies of the routes: shared services, and checked names out of the path."""

import re
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from service import ids
from service.api.schemas import examples
from service.api.schemas.jobs_and_datasets import Dataset, DatasetOnDisk
from service.curves.cache import CurveCache
from service.datasets.uploads import held_bytes, is_locked, staged_path
from service.files.disk_usage import StorageMeter, folder_bytes
from service.ledger.journaled_store import JournaledStore
from service.observability.metrics import Instruments
from service.server.problems import Problem
from service.settings import ApiSettings
from service.store.event_subscriptions import EventBroadcaster
from service.store.records import DatasetRecord
from service.store.store import Store
from service.store.store_errors import NotFound

STORAGE_EVERY_S = 10.0
STREAM_ID = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Services:
    """Services shared by all requests. Made once, by the application."""

    settings: ApiSettings
    journal: JournaledStore
    broadcaster: EventBroadcaster
    instruments: Instruments
    curves: CurveCache = field(default_factory=CurveCache)
    storage: StorageMeter = field(init=False)

    def __post_init__(self) -> None:
        """Make the one meter of disk usage that all requests share."""
        meter = StorageMeter(self.settings.data_dir, every_s=STORAGE_EVERY_S)
        object.__setattr__(self, "storage", meter)

    @property
    def store(self) -> Store:
        """Store for reads, and for changes of what has no ledger."""
        return self.journal.store

    def on_slow(self, stage: str) -> None:
        """Count a client that was dropped because it was too slow."""
        self.instruments.inc("moco_http_slow_clients_total", stage=stage)


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]


async def _job_id(
    id: Annotated[str, Path(description="Id of a job.", examples=[examples.JOB_ID])],
) -> str:
    """Return the id. Raises NotFound for one that no job can have, without a look-up."""
    if not re.fullmatch(ids.JOB_ID, id):
        raise NotFound("job", id[:64])
    return id


async def _dataset_name(
    id: Annotated[
        str, Path(description="Id or name of a dataset.", examples=[examples.DATASET_ID, "cifar10"])
    ],
) -> str:
    if not re.fullmatch(ids.DATASET_NAME, id):
        raise NotFound("dataset", id[:64])
    return id


async def _idempotency_key(
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Any unique text of up to 255 characters. Repeating a request with the "
            "same key and body within 24 hours returns the first result.",
            examples=["4f6d2c1e-submit-1"],
            json_schema_extra={"pattern": "^[ -~]{1,255}$"},
        ),
    ] = None,
) -> str | None:
    """Return the validated header. Raises Problem `bad_header`."""
    if idempotency_key is None:
        return None
    if not idempotency_key.isascii() or not idempotency_key.isprintable():
        raise Problem("bad_header", "Idempotency-Key: only printable ASCII characters.")
    if not 1 <= len(idempotency_key) <= 255:
        raise Problem("bad_header", "Idempotency-Key: 1 to 255 characters.")
    return idempotency_key


JobId = Annotated[str, Depends(_job_id)]
DatasetName = Annotated[str, Depends(_dataset_name)]
IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
Limit = Annotated[int, Query(ge=1, le=100, description="Page size.")]


def cursor(after: str | None, pattern: str) -> str | None:
    """Return `after` if it has the form of an id. Raises Problem `bad_cursor`."""
    if after is not None and not re.fullmatch(pattern, after):
        raise Problem("bad_cursor", f"query/after: {after[:64]!r} is not the id of an item.")
    return after


def created(body: BaseModel, *, location: str, replayed: bool) -> Response:
    """Return 201 with the location of the new resource."""
    headers = {"Location": location}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return json_response(body, status=201, headers=headers)


def json_response(
    body: BaseModel, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return a JSON response with its own headers."""
    return Response(
        body.model_dump_json(), status, headers=headers, media_type=JSONResponse.media_type
    )


def dataset_response(record: DatasetRecord, settings: ApiSettings) -> Dataset:
    """Return the dataset as it is answered, with its bytes on the disk."""
    path = settings.data_dir / staged_path(record.id)
    disk = DatasetOnDisk(
        received_bytes=held_bytes(path),
        is_uploading=record.status in ("received", "failed") and is_locked(path),
        stored_bytes=folder_bytes(settings.data_dir / "datasets" / record.id),
    )
    return Dataset.of(record, disk)
