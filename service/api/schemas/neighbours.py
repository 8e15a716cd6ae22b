"""Schemas of probes, the searches for neighbours."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.api.schemas import examples
from service.api.schemas.job_history import Listing
from service.api.schemas.jobs_and_datasets import StatusReason, response_config
from service.jobs.neighbour_jobs import StoredQuery
from service.store.records import JobRecord, Status
from trainer.schema.artifact_names import SHEET, TILES
from trainer.schema.base import Record

NEIGHBOUR: examples.Example = {
    "row": 4711,
    "name": "cats/0342.png",
    "label": "cats",
    "similarity": 0.913204,
}
RESULT: examples.Example = {
    "checkpoint": 900,
    "rows": 50_000,
    "searched_rows": 20_000,
    "note": "20,000 of 50,000 images were searched: a random sample, for speed.",
    "tile_px": 96,
    "probes": [{"row": 12, "name": "cats/0012.png", "label": "cats", "neighbours": [NEIGHBOUR]}],
}
PROBE_ID = "probe_01kapzw7q2m4x6r8t0w2y4a6bc"
PROBE: examples.Example = {
    "id": PROBE_ID,
    "object": "probe",
    "job_id": examples.JOB_ID,
    "status": "succeeded",
    "status_reason": None,
    "created_at": examples.CREATED_S,
    "finished_at": examples.CREATED_S + 1.4,
    "queue_position": None,
    "checkpoint": 900,
    "rows": [12],
    "is_image": False,
    "k": 10,
    "result": RESULT,
    "sheet_url": f"/v1/jobs/{examples.JOB_ID}/probes/{PROBE_ID}/{SHEET}",
    "tiles_url": f"/v1/jobs/{examples.JOB_ID}/probes/{PROBE_ID}/{TILES}",
}
Row = Annotated[int, Field(ge=0, lt=2**31)]


class ProbeRequest(Record):
    """Query rows and the encoder to use."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"rows": [12, 40], "checkpoint": 900, "k": 10}]}
    )

    rows: Annotated[list[Row], Field(min_length=1, max_length=16)] | None = None
    """Row numbers in the dataset. Default: eight fixed rows."""
    checkpoint: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    """Step of an available checkpoint. Default: the final encoder, or the latest checkpoint."""
    k: Annotated[int, Field(ge=1, le=50)] = 10
    """Number of neighbors per query."""


class Neighbour(BaseModel):
    """A nearest neighbor."""

    model_config = response_config(NEIGHBOUR)

    row: int
    """Row number in the dataset."""
    name: str
    """Name of its file."""
    label: str | None
    """Folder name, if folders are classes."""
    similarity: float
    """Cosine similarity of the two features."""


class Probed(BaseModel):
    """One query image."""

    model_config = response_config(RESULT["probes"][0])

    row: int | None
    """Row number in the dataset; null for an uploaded image."""
    name: str
    """Name of its file."""
    label: str | None
    """Folder name, if folders are classes."""
    neighbours: list[Neighbour]
    """Nearest neighbors, most similar first. A row is not its own neighbor."""


class ProbeResult(BaseModel):
    """Nearest neighbors by this encoder."""

    model_config = response_config(RESULT)

    checkpoint: int | None
    """Step of the checkpoint used; null: the final encoder."""
    rows: int
    """Number of images in the dataset."""
    searched_rows: int
    """Number of images searched. Large datasets are sampled: at most 20,000 images, or as many as
    30 s allow.
    """
    note: str
    """Note about the sampling, as text."""
    tile_px: int
    """Tile size. Row i of `tiles.png` is query i, then its neighbors, without gaps."""
    probes: list[Probed]
    """The queries."""


class Probe(BaseModel):
    """A nearest-neighbor search. It is deleted after a day."""

    model_config = response_config(PROBE)

    id: str
    """Id of the search."""
    object: Literal["probe"] = "probe"
    """Object type."""
    job_id: str
    """Job with the encoder."""
    status: Status
    """Status; the result is available when it is `succeeded`."""
    status_reason: StatusReason | None
    """Reason for a failure, such as `bad_image`, or for waiting."""
    created_at: float
    """Seconds since 1970."""
    finished_at: float | None
    """Seconds since 1970."""
    queue_position: int | None
    """1 is next; null unless it waits for a worker of the pool `ingest`."""
    checkpoint: int | None
    """Step of the checkpoint it looks through; null: the finished encoder."""
    rows: list[int] | None
    """The rows that were asked about; null: chosen ones, or an image."""
    is_image: bool
    """True if the query is an uploaded image."""
    k: int
    """Number of neighbors per query."""
    result: ProbeResult | None
    """The neighbors, when it has succeeded; always null in a list."""
    sheet_url: str
    """URL of a contact sheet with labels and similarities."""
    tiles_url: str
    """URL of an image of tiles without gaps, for programs."""

    @classmethod
    def of(
        cls, record: JobRecord, *, job_id: str, root_path: str, result: ProbeResult | None = None
    ) -> "Probe":
        """Return the probe as the store has it, with addresses under `root_path`."""
        query = StoredQuery.model_validate_json(record.spec_json)
        url = f"{root_path}/v1/jobs/{job_id}/probes/{record.id}"
        return cls(
            id=record.id,
            job_id=job_id,
            status=record.status,
            status_reason=StatusReason.of(record),
            created_at=record.created_at_s,
            finished_at=record.finished_at_s,
            queue_position=record.queue_position,
            checkpoint=query.checkpoint,
            rows=query.rows,
            is_image=query.is_image,
            k=query.k,
            result=result,
            sheet_url=f"{url}/{SHEET}",
            tiles_url=f"{url}/{TILES}",
        )


class ProbeList(Listing):
    """Searches of a job, newest first."""

    model_config = response_config(examples.listing(PROBE | {"result": None}, PROBE_ID))

    data: list[Probe]
    """The searches, without results."""
