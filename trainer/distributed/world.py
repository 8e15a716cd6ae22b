"""The ranks of a job: one process, or several that share each batch.

`Alone` is one process: everything it is handed comes back as it is. `ProcessGroup` is one rank of
several; `trainer.distributed.launched_world` makes it. Whoever is handed a world works in both.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

Ask = Callable[[], bool]
"""Question to one process, such as whether it was told to stop."""


class Requests(Protocol):
    """Requests of rank 0 that all ranks follow after the same step."""

    def asked(self, index: int) -> bool:
        """Return whether the request was made, as of the last exchange."""

    def outgoing(self) -> Tensor:
        """Return what this rank adds to an exchange, int64 [requests]."""

    def take(self, gathered: Tensor) -> None:
        """Take what all ranks have added, int64 [ranks, requests]."""


class World(Protocol):
    """One rank's view of all ranks. Each call but `part` is made by all of them, in one order."""

    @property
    def rank(self) -> int:
        """Number of this rank; rank 0 alone emits events and writes files."""

    @property
    def size(self) -> int:
        """Number of ranks."""

    @property
    def is_first(self) -> bool:
        """True on rank 0."""

    def part(self, rows: Tensor) -> Tensor:
        """Return this rank's rows of a batch [B, ...]: the rank-th of `size` runs of neighbours."""

    def gather(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return tensors [b, ...] of all ranks as [B, ...], in the order of ranks.

        A rank's own rows keep their graph. Gradients come out for `mean_`, whose result is then
        that of one process with the whole batch.
        """

    def all_gather(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return each tensor of all ranks, [size, ...], in one collective and without a graph."""

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over all ranks, in one collective."""

    def gather_statistics(self, statistics: Tensor) -> Tensor:
        """Return a small tensor of all ranks, [size, ...], inside a forward or backward pass."""

    def requests(self, *asks: Ask) -> Requests:
        """Return requests that travel with the exchange of each step; rank 0's count."""

    def agreed(self, ask: Ask) -> bool:
        """Return the answer of rank 0, at once. For what happens between steps."""

    def wait(self) -> None:
        """Wait until all ranks are here."""

    def check_alike(self, digest: Callable[[], bytes], *, what: str) -> None:
        """Raise DivergedRanks unless all ranks hold the same. For one thread beside the main one.

        `digest` gives 32 bytes; `what` names what was compared.
        """

    def causes(self) -> dict[str, str]:
        """Return what the bits of a result owe to the world: part of the fingerprint."""


class Alone:
    """One process, which is rank 0 of one."""

    rank, size, is_first = 0, 1, True

    def part(self, rows: Tensor) -> Tensor:
        """Return all rows."""
        return rows

    def gather(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the same tensors."""
        return tuple(tensors)

    def all_gather(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return each tensor as that of one rank."""
        return tuple(tensor[None] for tensor in tensors)

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Do nothing: the mean of one is itself."""

    def gather_statistics(self, statistics: Tensor) -> Tensor:
        """Return the tensor as that of one rank."""
        return statistics[None]

    def requests(self, *asks: Ask) -> Requests:
        """Return requests that are asked for when they are needed."""
        return _DirectRequests(asks)

    def agreed(self, ask: Ask) -> bool:
        """Return the answer."""
        return ask()

    def wait(self) -> None:
        """Do nothing."""

    def check_alike(self, digest: Callable[[], bytes], *, what: str) -> None:
        """Do nothing: there is no other rank."""

    def causes(self) -> dict[str, str]:
        """Return the number of ranks."""
        return {"world": "1"}


class _DirectRequests:
    """Requests of one process."""

    def __init__(self, asks: Sequence[Ask]) -> None:
        self._asks = asks

    def asked(self, index: int) -> bool:
        """Ask now."""
        return self._asks[index]()

    def outgoing(self) -> Tensor:
        """Return nothing: no other rank takes it."""
        return torch.empty(0, dtype=torch.int64)

    def take(self, gathered: Tensor) -> None:
        """Do nothing."""


ALONE = Alone()
