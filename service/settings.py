"""The environment of the API and of the state exporter. Read once in main and passed down."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from service.store.settings import StoreSettings

GIB = 2**30


class ApiSettings(StoreSettings):
    """Where the API listens, who may call it, and what it takes."""

    host: str = "127.0.0.1"
    """Address to listen on. Another one than loopback also needs MOCO_ALLOW_REMOTE=true."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    """Port of the API; 0 takes a free one."""
    allow_remote: bool = False
    """Whether other machines may connect. Put TLS in front: the key travels in the clear."""
    api_key: SecretStr | None = None
    """The bearer key. Left out: the one in `api.key` of the data folder, made when missing."""
    allowed_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders whose content may become a dataset without a copy, separated by colons."""
    upload_bytes_max: Annotated[int, Field(ge=1)] = 20 * GIB
    """Largest dataset that may be uploaded."""
    disk_free_bytes_min: Annotated[int, Field(ge=0)] = GIB // 4
    """Below so much free space in the data folder the service says that it is not ready."""
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

    @field_validator("allowed_roots")
    @classmethod
    def _absolute(cls, roots: tuple[Path, ...]) -> tuple[Path, ...]:
        for root in roots:
            if not root.is_absolute():
                raise ValueError(f"{root} must be an absolute path")
        return roots
