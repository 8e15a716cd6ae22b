"""What the API hears and says of probes: which rows an encoder finds alike."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.api.schemas import examples
from service.api.schemas.job_history import Listing
from service.api.schemas.jobs_and_datasets import StatusReason, response_config
from service.jobs.neighbour_jobs import StoredQuery
from service.store.models import JobRecord, Status
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
    """Rows whose neighbours are wanted, and by which encoder."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"rows": [12, 40], "checkpoint": 900, "k": 10}]}
    )

    rows: Annotated[list[Row], Field(min_length=1, max_length=16)] | None = None
    """Numbers of rows of the dataset. Left out: eight that the service chooses, always the same."""
    checkpoint: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    """Step of a checkpoint that is available. Left out: the finished encoder, else the newest."""
    k: Annotated[int, Field(ge=1, le=50)] = 10
    """Neighbours of each."""


class Neighbour(BaseModel):
    """A row that the encoder finds alike."""

    model_config = response_config(NEIGHBOUR)

    row: int
    """Its number in the dataset."""
    name: str
    """Of its file."""
    label: str | None
    """Name of its folder, if folders tell classes."""
    similarity: float
    """Cosine of the two features: 1 is the same direction, 0 none in common."""


class Probed(BaseModel):
    """One image that was asked about."""

    model_config = response_config(RESULT["probes"][0])

    row: int | None
    """Its number in the dataset; null for an image that was sent."""
    name: str
    """Of its file."""
    label: str | None
    """Name of its folder, if folders tell classes."""
    neighbours: list[Neighbour]
    """The most similar first. A row is no neighbour of itself."""


class ProbeResult(BaseModel):
    """What the encoder finds alike."""

    model_config = response_config(RESULT)

    checkpoint: int | None
    """Step of the checkpoint that was looked through; null: the finished encoder."""
    rows: int
    """Of the dataset."""
    searched_rows: int
    """Of a large dataset a random sample is searched: at most 20,000 rows, or what 30 s allow."""
    note: str
    """The same in words."""
    tile_px: int
    """Side of one tile. Line i of `tiles.png` is probe i, then its neighbours, without gaps."""
    probes: list[Probed]
    """What was asked about."""


class Probe(BaseModel):
    """A search for neighbours. It is forgotten a day after it was made."""

    model_config = response_config(PROBE)

    id: str
    """What it is called."""
    object: Literal["probe"] = "probe"
    """What this is."""
    job_id: str
    """Whose encoder."""
    status: Status
    """It can be read when it succeeded."""
    status_reason: StatusReason | None
    """Why it failed, such as `bad_image`, or why it waits."""
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
    """Whether an image was sent."""
    k: int
    """Neighbours of each."""
    result: ProbeResult | None
    """The neighbours, once it succeeded; always null in a list."""
    sheet_url: str
    """A picture for people, with labels and similarities."""
    tiles_url: str
    """A picture for programs: tiles without gaps."""

    @classmethod
    def of(
        cls, record: JobRecord, *, job_id: str, root_path: str, result: ProbeResult | None = None
    ) -> "Probe":
        """Return the probe as the store has it, with addresses under `root_path`."""
        asked = StoredQuery.model_validate_json(record.spec_json)
        url = f"{root_path}/v1/jobs/{job_id}/probes/{record.id}"
        return cls(
            id=record.id,
            job_id=job_id,
            status=record.status,
            status_reason=StatusReason.of(record),
            created_at=record.created_at_s,
            finished_at=record.finished_at_s,
            queue_position=record.queue_position,
            checkpoint=asked.checkpoint,
            rows=asked.rows,
            is_image=asked.is_image,
            k=asked.k,
            result=result,
            sheet_url=f"{url}/{SHEET}",
            tiles_url=f"{url}/{TILES}",
        )


class ProbeList(Listing):
    """Probes of a job, newest first."""

    model_config = response_config(examples.listing(PROBE | {"result": None}, PROBE_ID))

    data: list[Probe]
    """The probes, without their results."""
