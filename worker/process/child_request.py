"""Request of the supervisor to a child: paths and a device, as JSON. The spec lies in `out`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

SPEC_FILE = "spec.json"
RESULT_FILE = "result.json"
LOG_FILE = "log.txt"


@dataclass(frozen=True)
class ChildRequest:
    """Request for one attempt at one job. Paths are absolute."""

    kind: Literal["train", "ingest", "probe"]
    out: str
    """The attempt's folder, the only one that the child writes to."""
    pack: str = ""
    test_pack: str = ""
    checkpoints: tuple[str, ...] = ()
    """Checkpoints of earlier attempts, newest first."""
    device: str = "auto"
    threads: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fields for the forkserver's socket."""
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> "ChildRequest":
        """Return the request from its JSON, which has a list in place of the tuple."""
        return ChildRequest(**values | {"checkpoints": tuple(values["checkpoints"])})

    @property
    def folder(self) -> Path:
        """`out` as a path."""
        return Path(self.out)
