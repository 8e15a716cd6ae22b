"""Request of the supervisor to a child: paths and a device, as JSON. The spec lies in `out`."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

SPEC_FILE = "spec.json"
RESULT_FILE = "result.json"
LOG_FILE = "log.txt"


@dataclass(frozen=True)
class Gang:
    """Ranks of a job that several processes train together."""

    ranks: int
    """Number of ranks on this node."""
    run_id: str
    """Name of the attempt; ranks of another attempt cannot join."""
    nodes: int = 1
    node_rank: int = 0
    endpoint: str = "127.0.0.1:0"
    """`host:port` of the first node, at which all nodes meet."""
    address: str = "127.0.0.1"
    """Address of this node."""


@dataclass(frozen=True)
class ChildRequest:
    """Request for one attempt at one job. Paths are absolute."""

    kind: Literal["train", "ingest", "probe"]
    out: str
    """The attempt's folder, the only one that the child writes to."""
    pack: str = ""
    test_pack: str = ""
    init: str = ""
    """Weights that the encoder begins with; empty: random ones."""
    checkpoints: tuple[str, ...] = ()
    """Checkpoints of earlier attempts, newest first."""
    device: str = "auto"
    threads: int | None = None
    """Threads of the job on this node, which its ranks share."""
    gang: Gang | None = None
    """Ranks of the job on this node; None trains in the child itself."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that the forkserver sets in the child before anything else, CUDA above all."""

    def as_json(self) -> dict[str, Any]:
        """Return the fields for the forkserver's socket."""
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> "ChildRequest":
        """Return the request from its JSON, which has a list in place of the tuple."""
        gang = Gang(**values["gang"]) if values["gang"] else None
        return ChildRequest(**values | {"checkpoints": tuple(values["checkpoints"]), "gang": gang})

    @property
    def folder(self) -> Path:
        """`out` as a path."""
        return Path(self.out)
