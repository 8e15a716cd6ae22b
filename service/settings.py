"""Settings of the API and of the state exporter. Read once in main and passed down."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from service.store.store_settings import StoreSettings
from trainer.data.spec import SIDE_PX_LIMIT, USUAL, IngestOptions

OWN_PATHS = frozenset(
    {"v1", "ui", "docs", "sign-in", "sign-out", "metrics", "livez", "readyz", "version"}
)
"""First parts of our own paths: with one of them as the prefix a path would have two meanings."""
ROOT_PATH = r"^((/[A-Za-z0-9._~-]+)+)?$"


class KeySettings(StoreSettings):
    """The keys of the service, for every process that asks for one."""

    api_key: SecretStr | None = None
    """Bearer key. Default: the one in `api.key` in the data folder, created if missing."""
    read_key: SecretStr | None = None
    """Read-only key. Default: the one in `read.key`, created if missing."""
    scrape_key: SecretStr | None = None
    """Key for Prometheus, valid for `/metrics` only. Default: the one in `scrape.key`."""

    @field_validator("api_key", "read_key", "scrape_key", mode="before")
    @classmethod
    def _given(cls, value: object) -> object:
        """Take a variable that is set to nothing as left out."""
        return value or None


class ApiSettings(KeySettings):
    """Settings of the API: addresses, access, limits and retention."""

    host: str = "127.0.0.1"
    """Address to listen on. Another one than loopback also needs MOCO_ALLOW_REMOTE=true."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    """API port; 0 picks a free one."""
    root_path: Annotated[str, Field(pattern=ROOT_PATH)] = ""
    """Path prefix behind a proxy, such as `/moco`; the proxy may strip it or not."""
    allow_remote: bool = False
    """Let other machines connect. Put TLS in front: the key travels in the clear."""
    allowed_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders that datasets may be read from in place, separated by colons."""
    upload_bytes_max: Annotated[int, Field(ge=1)] = 20 * 2**30
    """Maximum size of an upload."""
    ingest_defaults: IngestOptions = USUAL
    """Default ingest options, as JSON: `{"side_px_max": 512}`."""
    ingest_side_px_max: Annotated[int, Field(ge=8)] = SIDE_PX_LIMIT
    """Largest `side_px_max` that a dataset may ask for."""
    ingest_pixels_max: Annotated[int, Field(ge=1)] = 1_000_000_000
    """Largest `pixels_max` that a dataset may ask for."""
    ingest_file_bytes_max: Annotated[int, Field(ge=1)] = 4 * 2**30
    """Largest `file_bytes_max` that a dataset may ask for."""
    ingest_total_bytes_max: Annotated[int, Field(ge=1)] = 2**40
    """Largest `total_bytes_max` that a dataset may ask for."""
    ingest_entries_max: Annotated[int, Field(ge=1)] = 50_000_000
    """Largest `entries_max` that a dataset may ask for."""
    ingest_ratio_max: Annotated[int, Field(ge=2)] = 2_000
    """Largest `ratio_max` that a dataset may ask for."""
    ingest_seconds_max: Annotated[int, Field(ge=1)] = 24 * 3600
    """Largest `seconds_max` that a dataset may ask for."""
    head_wait_s: Annotated[float, Field(gt=0.0)] = 10.0
    """Timeout for the head of a request."""
    body_wait_s: Annotated[float, Field(gt=0.0)] = 10.0
    """Timeout for a JSON body, and for an upload that is below the minimum speed."""
    body_bytes_per_s_min: Annotated[int, Field(ge=1)] = 16 * 1024
    """Minimum average speed of an upload; a fast one may pause for up to a minute."""
    answer_wait_s: Annotated[float, Field(gt=0.0)] = 60.0
    """Timeout for a client that does not read its response."""
    connections_max: Annotated[int, Field(ge=16)] = 1000
    """Maximum open connections; beyond it, the connection idle for longest is closed."""
    upload_kept_s: Annotated[float, Field(gt=0.0)] = 24 * 3600.0
    """Retention of the bytes of unfinished uploads, and of uploads that have been ingested."""
    dataset_unusable_kept_s: Annotated[float, Field(gt=0.0)] = 7 * 24 * 3600.0
    """Retention of datasets that failed or never received content, and of weights that failed."""
    checkpoint_kept_s: Annotated[float, Field(gt=0.0)] = 30 * 24 * 3600.0
    """Retention of checkpoints after a job ends."""
    event_kept_s: Annotated[float, Field(gt=0.0)] = 30 * 24 * 3600.0
    """Retention of events in the store after a job ends; the last event is kept."""
    job_kept_s: Annotated[float, Field(gt=0.0)] | None = None
    """Retention of failed and cancelled jobs. Default: forever."""
    log_kept_s: Annotated[float, Field(gt=0.0)] = 30 * 24 * 3600.0
    """Retention of rotated logs."""
    removable_bytes_max: Annotated[int, Field(ge=1)] | None = None
    """Limit in bytes for all that retention may remove: above it, the oldest goes at any age over a
    minute. Left out: no limit."""
    listen_fd: Annotated[int, Field(ge=0)] | None = None
    """An open socket to listen on in place of `host` and `port`; `moco up` hands one over."""
    exporter_host: str = "127.0.0.1"
    """Address of the state exporter, under the same rule as `host`."""
    exporter_port: Annotated[int, Field(ge=0, le=65_535)] = 9102
    """Port of the state exporter."""

    @field_validator("allowed_roots", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(Path(part) for part in value.split(os.pathsep) if part)
        return value

    @field_validator("root_path")
    @classmethod
    def _foreign(cls, path: str) -> str:
        if OWN_PATHS & set(path.split("/")[1:2]):
            raise ValueError(f"{path} conflicts with a path of the service")
        return path

    @field_validator("allowed_roots")
    @classmethod
    def _absolute(cls, roots: tuple[Path, ...]) -> tuple[Path, ...]:
        for root in roots:
            if not root.is_absolute():
                raise ValueError(f"{root} must be an absolute path")
        return roots
