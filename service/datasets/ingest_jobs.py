"""Checks of new datasets, and the jobs that ingest them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from service.datasets.uploads import staged_path
from service.errors import ServiceError, invalid
from service.files.disk_errors import translate_disk_errors
from service.ids import new_id
from service.jobs.planner import INGEST_POOL
from service.ledger.journaled_store import JournaledStore
from service.settings import ApiSettings
from service.store.records import DatasetRecord, NewJob
from service.store.store import Store
from service.store.store_errors import WrongState
from trainer.data.spec import LIMITS, IngestOptions, IngestSpec
from trainer.schema.choices import SourceFormat


def allowed_source(path: str, settings: ApiSettings) -> str:
    """Return `path` with links resolved, if it exists under an allowed root.

    Raises ServiceError `path_not_allowed` or `invalid`.
    """
    try:
        real = Path(path).resolve()
    except (OSError, RuntimeError):  # links in a circle
        raise invalid("#/path", "The path is a broken link.") from None
    if not any(real.is_relative_to(root.resolve()) for root in settings.allowed_roots):
        raise ServiceError(
            "path_not_allowed", "#/path: not inside a folder listed in MOCO_ALLOWED_ROOTS."
        )
    if not os.path.exists(real):  # never raises, however long or odd a name is
        raise invalid("#/path", "No such file or folder on the server.")
    if not (real.is_file() or real.is_dir()):
        raise invalid(
            "#/path", "Devices, pipes and sockets are not supported; use a file or a folder."
        )
    return str(real)


def check_size(size_bytes: int, settings: ApiSettings) -> None:
    """Raise ServiceError `too_large` if so many bytes may not be uploaded."""
    if size_bytes > settings.upload_bytes_max:
        limit = settings.upload_bytes_max
        raise ServiceError("too_large", f"{size_bytes} bytes; MOCO_UPLOAD_BYTES_MAX is {limit}.")


def resolved_options(options: IngestOptions, settings: ApiSettings) -> IngestOptions:
    """Return what was asked, completed by the server's defaults and bounded by its ceilings.

    Raises ServiceError `invalid` for a value above a ceiling; a default above one is lowered to it.
    """
    chosen = options.model_dump(exclude_unset=True)
    values = settings.ingest_defaults.model_dump() | chosen
    for name in ("side_px_max", *LIMITS):
        ceiling: int = getattr(settings, f"ingest_{name}")
        if name in chosen and values[name] > ceiling:
            setting = f"MOCO_INGEST_{name.upper()}"
            detail = f"{values[name]} is more than {setting}, which is {ceiling}."
            raise invalid(f"#/options/{name}", detail)
        values[name] = min(values[name], ceiling)
    return IngestOptions.model_validate(values)


def get_uploadable(store: Store, name: str) -> DatasetRecord:
    """Return the dataset if it waits for an upload. Raises NotFound, WrongState."""
    record = store.datasets.get(name)
    if record.source is not None:
        reason = "The dataset is read in place, so it takes no uploads."
        raise WrongState(record.status, "upload", reason)
    if record.status not in ("received", "failed"):
        reason = f"The dataset is {record.status}; its content cannot be replaced."
        raise WrongState(record.status, "upload", reason)
    return record


def accept_upload(
    journal: JournaledStore, record: DatasetRecord, *, size_bytes: int, sha256: str
) -> DatasetRecord:
    """Record that the content is complete, and submit its ingest."""
    with translate_disk_errors():
        journal.set_uploaded(record.id, size_bytes=size_bytes, sha256=sha256)
    return prepare(journal, record, source=staged_path(record.id))


def prepare(
    journal: JournaledStore, record: DatasetRecord, *, source: str, roots: Sequence[Path] = ()
) -> DatasetRecord:
    """Submit the ingest of `source`, a path. A repeat after a lost response makes no second job.

    The worker reads nothing outside of `roots`, wherever a link leads by then.
    """
    spec = IngestSpec(
        dataset_id=record.id,
        source=source,
        roots=tuple(str(root.resolve()) for root in roots),
        format=cast(SourceFormat, record.format),
        store_as=record.store_as,
        **record.options.model_dump(),
    ).model_dump_json()
    new = NewJob(
        kind="ingest",
        pool=INGEST_POOL,
        name=f"ingest {record.name}",
        spec_json=spec,
        resolved_json=spec,
        inputs={"source": source},
        folder=f"datasets/{record.id}",
        dataset_id=record.id,
    )
    key = f"ingest:{record.id}:{record.job_id or 'first'}"
    with translate_disk_errors():
        journal.submit(new, job_id=new_id("job"), idempotency_key=key, fingerprint=source)
    return journal.store.datasets.get(record.id)
