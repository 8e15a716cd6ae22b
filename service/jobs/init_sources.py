"""The weights that a new job begins with: found, and pinned by their sha256, when it is submitted.

The API hashes the encoder of a checkpoint itself: it reads as many bytes as the encoder has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from service.errors import ServiceError, invalid
from service.files.safe_open import open_inside
from service.ledger.journaled_store import JournaledStore
from service.store.records import JobRecord
from service.store.store import Store
from service.store.store_errors import NotFound
from service.weights.weights_content import shapes_of
from service.weights.weights_store import WeightsStore
from trainer.checkpoint.encoder_file import STATE, encoder_file
from trainer.schema.artifact_names import WEIGHTS
from trainer.spec.added_fields import settled
from trainer.spec.init_from import InitFromSpec
from trainer.spec.job import JobSpec
from trainer.util.safetensors_header import BadHeader


@dataclass(frozen=True, slots=True)
class InitSource:
    """Weights to begin with."""

    pinned: InitFromSpec
    """With the sha256 of the file, and the step of the checkpoint."""
    path: str
    """Relative to the data folder: a file, or the state of a checkpoint that has the encoder."""
    donor: JobSpec | None = None
    """Resolved spec of the job that trained them."""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Names and shapes of the tensors of uploaded weights."""


def find_init(spec: JobSpec, journal: JournaledStore) -> InitSource | None:
    """Return the weights that `spec` names, None if it begins with random ones.

    Raises ServiceError `invalid` if there are none, or their sha256 is not the one that it states.
    """
    wanted = spec.init_from
    if wanted is None:
        return None
    if wanted.job is None:
        source = _of_weights(wanted, journal)
    else:
        source = _of_job(wanted, _donor(wanted.job, journal.store), journal)
    if wanted.sha256 not in {None, source.pinned.sha256}:
        raise invalid("#/init_from/sha256", f"The file has the sha256 {source.pinned.sha256}.")
    return source


def _of_weights(wanted: InitFromSpec, journal: JournaledStore) -> InitSource:
    try:
        record = WeightsStore(journal.data_dir).get(wanted.weights or "")
    except NotFound as error:
        raise invalid("#/init_from/weights", str(error)) from None
    if record.status == "failed":
        raise invalid("#/init_from/weights", f"{record.name} has no weights: {record.reason}")
    if record.status != "ready":
        raise invalid("#/init_from/weights", f"The upload of {record.name} is not complete.")
    pinned = wanted.model_copy(update={"sha256": record.sha256})
    return InitSource(pinned, record.path, shapes=shapes_of(journal.data_dir, record))


def _donor(job_id: str, store: Store) -> JobRecord:
    try:
        record = store.jobs.get(job_id)
    except NotFound:
        raise invalid("#/init_from/job", f"There is no job {job_id}.") from None
    if record.kind != "train":
        raise invalid("#/init_from/job", f"{job_id} trained no encoder.")
    return record


def _of_job(wanted: InitFromSpec, job: JobRecord, journal: JournaledStore) -> InitSource:
    if wanted.checkpoint is not None:
        return _of_checkpoint(wanted, job, journal)
    sha256 = next((file.sha256 for file in job.artifacts if file.name == WEIGHTS), None)
    if sha256 is None or job.artifacts_folder is None:
        detail = (
            f"{job.id} is {job.status} and has published no encoder. "
            'Set checkpoint to "latest" to begin with that of its newest checkpoint.'
        )
        raise invalid("#/init_from/job", detail)
    pinned = wanted.model_copy(update={"sha256": sha256})
    return InitSource(pinned, f"{job.artifacts_folder}/{WEIGHTS}", _spec_of(job))


def _spec_of(job: JobRecord) -> JobSpec:
    return settled(JobSpec.model_validate_json(job.resolved_json))


def _of_checkpoint(wanted: InitFromSpec, job: JobRecord, journal: JournaledStore) -> InitSource:
    step = job.best_step if wanted.checkpoint == "best" else wanted.checkpoint
    for checkpoint in journal.store.jobs.checkpoints(job.id):
        if step not in {"latest", checkpoint.step}:
            continue
        path = f"{checkpoint.path}/{STATE}"
        try:
            with open_inside(journal.data_dir, path) as file:
                sha256 = encoder_file(file).sha256(file)
        except FileNotFoundError:
            continue
        except BadHeader as error:
            detail = f"Checkpoint {checkpoint.step} of {job.id} is damaged: {error}."
            raise ServiceError("storage", detail) from None
        pinned = wanted.model_copy(update={"sha256": sha256, "checkpoint": checkpoint.step})
        return InitSource(pinned, path, _spec_of(job))
    of_step = "" if step == "latest" else f" of step {step}"
    detail = (
        f"{job.id} keeps no checkpoint{of_step}. `GET /v1/jobs/{job.id}/checkpoints` lists those "
        "that are available."
    )
    raise invalid("#/init_from/checkpoint", detail)
