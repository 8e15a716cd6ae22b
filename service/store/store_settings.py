"""Settings of every process that opens the store. Read once in main and passed down."""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from mocoserve.user_config import default_data_dir


class StoreSettings(BaseSettings):
    """Data folder, Redis, and how long a silent worker keeps its job."""

    model_config = SettingsConfigDict(
        env_prefix="MOCO_", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    data_dir: Path = Field(default_factory=default_data_dir)
    """Datasets, checkpoints and artifacts. Every process must see the same folder."""
    disk_free_bytes_min: Annotated[int, Field(ge=0)] = 2**28
    """Below so much free space there the API is not ready, and no worker takes a job."""
    redis_url: str | None = None
    """`redis://`, `rediss://` or `unix://`. Default: the server embedded in the data folder."""
    redis_timeout_s: Annotated[float, Field(gt=0.0, le=60.0)] = 1.5
    """Longest time one call to the store may take, its retry included."""
    lease_ttl_ticks: Annotated[int, Field(ge=2)] = 15
    """Ticks after which a worker that did not renew loses its job."""
    renew_every_s: Annotated[float, Field(gt=0.0)] = 3.0
    """Interval at which a worker renews its lease."""
    tick_s: Annotated[float, Field(gt=0.0)] = 1.0
    """Interval between two ticks, on each reaper's own clock."""
