"""Counts of the work that runs on the pretend GPU."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple


class Copy(NamedTuple):
    """One copy over the bus."""

    size_bytes: int
    is_pinned: bool
    """True if the host's side is pinned memory; the driver stages a copy of any other."""


class Operation(NamedTuple):
    """One operation with all that it takes besides the values of tensors."""

    name: str
    arguments: tuple[Hashable, ...]
    """Scalars as they are; shape and type of tensors."""


@dataclass
class Counts:
    """Sums since the device was made."""

    kernels: Counter[str] = field(default_factory=Counter)
    """Operations that the device did, by name; a replayed graph adds those that it holds."""
    operand_bytes: Counter[str] = field(default_factory=Counter)
    """Bytes that those operations read and wrote, by name."""
    launches: int = 0
    """Launches by the host: an operation outside of a graph, or a whole graph."""
    waits: list[str] = field(default_factory=list)
    """Places where the host waited for the device, and why."""
    forbidden: list[str] = field(default_factory=list)
    """Calls that CUDA forbids during the capture of a graph, and where they were tried."""
    random_draws: list[str] = field(default_factory=list)
    """Operations that drew from the device's global generator, which no checkpoint holds."""
    devices: Counter[str] = field(default_factory=Counter)
    """Tensors that were made, by the name of their device."""
    streams: Counter[str] = field(default_factory=Counter)
    """Events, captures and blocks of work, by the name of their stream's device."""
    to_device: list[Copy] = field(default_factory=list)
    to_host: list[Copy] = field(default_factory=list)

    def reading(self) -> "Reading":
        """Return the sums at this moment."""
        return Reading(
            kernels=self.kernels.total(),
            operand_bytes=self.operand_bytes.total(),
            launches=self.launches,
            waits=len(self.waits),
            copies_to_device=len(self.to_device),
            copies_to_host=len(self.to_host),
        )


class Reading(NamedTuple):
    """Sums at one moment, or the difference of two."""

    kernels: int
    operand_bytes: int
    launches: int
    waits: int
    copies_to_device: int
    copies_to_host: int

    def since(self, earlier: "Reading") -> "Reading":
        """Return what was added after an earlier reading."""
        return Reading(*(now - then for now, then in zip(self, earlier, strict=True)))


@dataclass
class Recording:
    """The operations of one captured graph, in their order."""

    operations: list[Operation] = field(default_factory=list)
    operand_bytes: Counter[str] = field(default_factory=Counter)

    def kernels(self) -> Counter[str]:
        """Return how many operations of each name it holds."""
        return Counter(operation.name for operation in self.operations)


class Pool:
    """Memory of the graphs that were captured together. What was theirs once is nobody else's."""

    live_bytes = 0
    reserved_bytes = 0


class Memory:
    """Bytes of the device's tensors that are alive, and of the pools of graphs."""

    def __init__(self) -> None:
        self.live_bytes = self.peak_bytes = 0

    def take(self, size_bytes: int, pool: Pool | None = None) -> None:
        """Count a new storage, of a graph if it comes from a pool."""
        if pool is not None:
            pool.live_bytes += size_bytes
            size_bytes = max(0, pool.live_bytes - pool.reserved_bytes)
            pool.reserved_bytes += size_bytes
        self.live_bytes += size_bytes
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)

    def free(self, size_bytes: int, pool: Pool | None = None) -> None:
        """Count a storage that is gone. That of a graph stays in its pool."""
        if pool is None:
            self.live_bytes -= size_bytes
        else:
            pool.live_bytes -= size_bytes

    def close(self, pool: Pool) -> None:
        """Count a pool as gone with the last of its graphs."""
        self.live_bytes -= pool.reserved_bytes
