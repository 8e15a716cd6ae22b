"""One rank of several: the only module that speaks to the others.

Collectives are few and of a constant size, so that two runs of one world add up in one order: the
mean of gradients once a step, one gather of mixed tensors as bytes, and small ones between steps.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor

from trainer.distributed.world import Ask, Requests
from trainer.schema.errors import DivergedRanks, RankLost
from trainer.util.autograd import Context

PUBLISH_TIMEOUT = timedelta(hours=24)
"""Longest wait between steps: rank 0 exports a whole dataset while the others wait."""


class ProcessGroup:
    """A world of several ranks, over gloo on CPUs and NCCL on GPUs."""

    def __init__(self, device: torch.device) -> None:
        """The default group of torch is there. `device` is where this rank's tensors are."""
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.is_first = self.rank == 0
        self.traffic: Counter[str] = Counter()
        """Bytes that this rank has handed to collectives, by purpose."""
        self._device = device
        # Collectives of one group must come in one order on all ranks. These two groups are for
        # questions between steps, and for the thread that writes checkpoints.
        self._between_steps = _gloo_group(PUBLISH_TIMEOUT)
        self._beside = _gloo_group(None)

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        return self  # modules keep their world when they are copied

    def part(self, rows: Tensor) -> Tensor:
        """Return the rank-th of `size` runs of rows."""
        return rows.chunk(self.size)[self.rank]

    def gather(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return tensors of all ranks, the own rows with their graph."""
        gathered = self.all_gather(tensors)
        return tuple(
            _own_rows_placed(own, every, self) for own, every in zip(tensors, gathered, strict=True)
        )

    @torch.no_grad()
    def all_gather(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return each tensor of all ranks, in one collective of bytes."""
        gathered = self._gathered(torch.cat([_bytes_of(tensor) for tensor in tensors]), "gathered")
        parts = torch.split(gathered, [tensor.nbytes for tensor in tensors], dim=1)
        return tuple(
            part.contiguous().view(tensor.dtype).view(self.size, *tensor.shape)
            for part, tensor in zip(parts, tensors, strict=True)
        )

    @torch.no_grad()
    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean, in one flat all-reduce in the order given."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).div_(self.size)
        self.traffic["reduced"] += flat.nbytes
        with _peers_alive():
            dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    @torch.no_grad()
    def gather_statistics(self, statistics: Tensor) -> Tensor:
        """Return a small tensor of all ranks, [size, ...]."""
        return self._gathered(statistics, "statistics")

    def _gathered(self, own: Tensor, purpose: str) -> Tensor:
        self.traffic[purpose] += own.nbytes
        return self._of_all(own, group=None)

    def _of_all(self, own: Tensor, *, group: dist.ProcessGroup | None) -> Tensor:
        gathered = own.new_empty(self.size * own.numel())
        with _peers_alive():
            dist.all_gather_into_tensor(gathered, own.reshape(-1), group=group)
        return gathered.view(self.size, *own.shape)

    def requests(self, *asks: Ask) -> Requests:
        """Return requests that travel with each exchange."""
        return _SharedRequests(asks, self._device)

    def agreed(self, ask: Ask) -> bool:
        """Return the answer of rank 0."""
        answer = torch.tensor([int(ask())])
        with _peers_alive():
            dist.broadcast(answer, src=0, group=self._between_steps)
        return bool(answer)

    def wait(self) -> None:
        """Wait until all ranks are here."""
        with _peers_alive():
            dist.barrier(group=self._between_steps)

    def check_alike(self, digest: Callable[[], bytes], *, what: str) -> None:
        """Compare the digests of all ranks."""
        own = torch.frombuffer(bytearray(digest()), dtype=torch.uint8)
        gathered = self._of_all(own, group=self._beside)
        unlike = (gathered != gathered[0]).any(1).nonzero().flatten().tolist()
        if unlike:
            ranks = ", ".join(map(str, unlike))
            raise DivergedRanks(f"{what} of rank 0 is not that of rank {ranks}.")

    def causes(self) -> dict[str, str]:
        """Return the number of ranks, and on GPUs what adds up their gradients."""
        causes = {"world": str(self.size)}
        if self._device.type == "cuda":
            version = torch.cuda.nccl.version()  # type: ignore[no-untyped-call]  # torch has no types here
            causes["nccl"] = ".".join(map(str, version))
        return causes


class _SharedRequests:
    """Requests of rank 0, as all ranks have them after an exchange.

    On a GPU they are read one step late: the host would else wait for each step's end.
    """

    def __init__(self, asks: Sequence[Ask], device: torch.device) -> None:
        self._asks, self._device = asks, device
        self._on_gpu = device.type == "cuda"
        self._sent = self._newest = self._previous = torch.zeros(len(asks), dtype=torch.int64)
        self._arrived: torch.cuda.Event | None = None

    def asked(self, index: int) -> bool:
        """Return what rank 0 asked for."""
        return bool(self._previous[index])

    def outgoing(self) -> Tensor:
        """Return this rank's answers, on its device."""
        answers = torch.tensor([int(ask()) for ask in self._asks])
        if not self._on_gpu:
            return answers
        self._sent = answers & ~self._sent  # not a second time while the first is on its way
        return self._sent.pin_memory().to(self._device, non_blocking=True)

    def take(self, gathered: Tensor) -> None:
        """Keep the answers of rank 0."""
        if not self._on_gpu:
            self._previous = gathered[0]
            return
        if self._arrived is not None:
            self._arrived.synchronize()
        self._previous = self._newest
        self._newest = torch.empty(len(self._asks), dtype=torch.int64, pin_memory=True)
        self._newest.copy_(gathered[0], non_blocking=True)
        self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch has no types here
        self._arrived.record(torch.cuda.current_stream(self._device))


class _OwnRowsPlaced(torch.autograd.Function):
    """Rows of all ranks; the gradient of the own ones, times the number of ranks.

    Every rank computes the loss of the whole batch, and its graph reaches its own rows only: the
    gradient of the whole is the sum over ranks. `mean_` divides, so what it divides by goes in.
    """

    @staticmethod
    def forward(ctx: Context, own: Tensor, gathered: Tensor, rank: int) -> Tensor:
        """Return [ranks b, ...]."""
        ctx.rank, ctx.ranks = rank, len(gathered)  # type: ignore[attr-defined]  # torch's way
        del own
        return gathered.flatten(0, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of the own rows."""
        rank, ranks = ctx.rank, ctx.ranks  # type: ignore[attr-defined]  # as above
        return grad.chunk(ranks)[rank] * ranks, None, None


def _own_rows_placed(own: Tensor, gathered: Tensor, world: ProcessGroup) -> Tensor:
    placed: Tensor = _OwnRowsPlaced.apply(own, gathered, world.rank)
    return placed


def _gloo_group(timeout: timedelta | None) -> dist.ProcessGroup:
    group = dist.new_group(backend="gloo", timeout=timeout)
    assert isinstance(group, dist.ProcessGroup)  # every rank is in it
    return group


def _bytes_of(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().view(-1).view(torch.uint8)


@contextmanager
def _peers_alive() -> Iterator[None]:
    """Raise RankLost where torch says that another rank does not answer."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise RankLost(f"Another rank of this job does not answer: {reason}") from error
