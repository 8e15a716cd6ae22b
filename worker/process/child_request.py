"""What the supervisor asks of a child: paths and a device, as JSON. The spec lies in `out`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

SPEC_FILE = "spec.json"
RESULT_FILE = "result.json"
LOG_FILE = "log.txt"


@dataclass(frozen=True)
class Orders:
    """One attempt of one job. Paths are absolute."""

    kind: Literal["train", "ingest", "probe"]
    out: str
    """The attempt's folder, the only one that the child writes to."""
    pack: str = ""
    test_pack: str = ""
    checkpoints: tuple[str, ...] = ()
    """Of earlier attempts, newest first."""
    device: str = "auto"
    threads: int | None = None

    def as_json(self) -> dict[str, Any]:
        """For the socket of the forkserver."""
        return asdict(self)

    @staticmethod
    def of_json(values: dict[str, Any]) -> "Orders":
        """The other way; JSON has lists where this has a tuple."""
        return Orders(**values | {"checkpoints": tuple(values["checkpoints"])})

    @property
    def folder(self) -> Path:
        """`out` as a path."""
        return Path(self.out)
