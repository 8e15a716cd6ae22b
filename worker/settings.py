"""Settings of one worker, read once in main and passed down."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from service.settings import KeySettings

_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,4})?|(GPU|MIG)-[0-9A-Za-z/-]+")
"""One name in MOCO_DEVICE."""


class WorkerSettings(KeySettings):
    """Environment of one worker: `MOCO_` and the name of the field."""

    pools: Annotated[tuple[str, ...], NoDecode, Field(min_length=1)] = ("train",)
    """Pools that the worker takes jobs from, comma-separated; an ingest worker has `ingest`."""
    device: str = "auto"
    """`cpu`, auto (every GPU that is seen, else the CPU), or GPUs, comma-separated, as `cuda:N`
    or by UUID. Each device is a slot: one training process at a time."""
    slots: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Number of slots. Default: one per GPU, or one on the CPU; devices take turns."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads of one training process. Default: one per core, shared by the slots."""
    node_address: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,253}$")] | None = None
    """Name or IPv4 address at which other machines reach this one. Without it the worker takes no
    part in jobs of several nodes."""
    compile_ahead: bool = True
    """Compile the CPU kernels before the first job, which takes some seconds, not during it."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$")] | None = None
    """First part of the worker's id. Default: the host name."""
    grace_s: Annotated[float, Field(gt=0.0, le=3600.0)] = 30.0
    """Time a training process has to save and leave before it is killed."""
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """Port of `/metrics`; 0 takes a free one. Default: no metrics server."""
    metrics_host: str = "127.0.0.1"
    """Address that `/metrics` listens on."""
    listen_fd: Annotated[int, Field(ge=0)] | None = None
    """An open socket for `/metrics` in place of host and port; `moco up` hands one over."""
    scrape_s: Annotated[float, Field(gt=0.0)] = 15.0
    """Scrape interval of Prometheus; the series of a job outlive it by two of these."""
    flush_every_s: Annotated[float, Field(gt=0.0, le=10.0)] = 0.25
    """Longest time that readings wait to be sent in one batch."""
    outbox_events: Annotated[int, Field(ge=16)] = 10_000
    """Events kept while the store is away; beyond, the oldest readings are dropped."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Level of the worker's own log on stderr."""

    @field_validator("device")
    @classmethod
    def _names_devices(cls, value: str) -> str:
        for name in map(str.strip, value.split(",")):
            if not _DEVICE.fullmatch(name):
                raise ValueError(
                    f"{name!r} is no device. Write auto, cpu, or GPUs as cuda:N, GPU-... or "
                    "MIG-... (see `nvidia-smi -L`), separated by commas."
                )
        return value

    @field_validator("pools", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Split `MOCO_POOLS=train,ingest` into a tuple."""
        if isinstance(value, str):
            return tuple(word.strip() for word in value.split(",") if word.strip())
        return value
