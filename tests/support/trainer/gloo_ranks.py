"""MoCo as the authors train it on several devices: a rank per process, shuffled batch norm.

Plain torch over gloo on the loopback device, written from section 3.3 of arXiv:1911.05722. Nothing
of ours is imported here. Every rank has `RANK_ROWS` rows of a batch, in rank order.
"""

import os
from datetime import timedelta
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

RANKS, RANK_ROWS, STEPS = 2, 8, 12
DIM, K, M, T = 8, 48, 0.99, 0.2
LR, MOMENTUM, DECAY = 0.05, 0.9, 1e-4
INPUTS, OUTPUTS = "inputs.safetensors", "rank{}.safetensors"
TIMEOUT_S = 120.0


class Tower(nn.Module):
    """Two convolutions with the library's batch norm, and a head of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, DIM))

    def forward(self, views: Tensor) -> Tensor:
        """[B, 3, S, S] to unit vectors [B, DIM]."""
        return F.normalize(self.head(self.encoder(views)), dim=1)


def train_ranks(folder: Path, inputs: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Train on `RANKS` processes and return what each recorded.

    `inputs`: `first` and `second` [STEPS, B, 3, S, S], `order` int64 [STEPS, B], `queue` [K, DIM],
    and the weights of the tower as `tower.*`.
    """
    save_file(inputs, folder / INPUTS)
    spawn(_train_rank, args=(folder,), nprocs=RANKS)  # type: ignore[no-untyped-call]
    return [load_file(folder / OUTPUTS.format(rank)) for rank in range(RANKS)]


def _train_rank(rank: int, folder: Path) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=RANKS,
        timeout=timedelta(seconds=TIMEOUT_S),
    )
    try:
        save_file(_Rank(rank, load_file(folder / INPUTS)).train(), folder / OUTPUTS.format(rank))
    finally:
        distributed.destroy_process_group()


class _Rank:
    def __init__(self, rank: int, inputs: dict[str, Tensor]) -> None:
        self.rank, self.inputs = rank, inputs
        self.queue = inputs["queue"].clone()
        self.f_q, self.f_k = Tower().double(), Tower().double()
        weights = {
            name.removeprefix("tower."): value
            for name, value in inputs.items()
            if name.startswith("tower.")
        }
        for tower in (self.f_q, self.f_k):
            tower.load_state_dict(weights)
        # Each rank keeps its own running statistics, so that their mean can be compared.
        self.parallel = DistributedDataParallel(self.f_q, broadcast_buffers=False)
        self.optimizer = torch.optim.SGD(
            self.parallel.parameters(), LR, momentum=MOMENTUM, weight_decay=DECAY
        )

    def train(self) -> dict[str, Tensor]:
        """Return every step's loss, queries, keys and gradient, and the state at the end."""
        records = [self.step(step) for step in range(STEPS)]
        self.move_key_encoder()
        stacked = {name: torch.stack([each[name] for each in records]) for name in records[0]}
        towers = {"query": self.f_q, "key": self.f_k}
        state = {
            f"{prefix}.{name}": value
            for prefix, tower in towers.items()
            for name, value in tower.state_dict().items()
        }
        return {**stacked, **state, "queue": self.queue}

    def step(self, step: int) -> dict[str, Tensor]:
        im_q, im_k = (self.mine(self.inputs[name][step]) for name in ("first", "second"))
        self.move_key_encoder()
        keys = self.keys(im_k, self.inputs["order"][step])
        queries = self.parallel(im_q)
        positive = (queries * keys).sum(1, keepdim=True)
        logits = torch.cat([positive, queries @ self.queue.clone().T], 1) / T
        loss = F.cross_entropy(logits, torch.zeros(RANK_ROWS, dtype=torch.int64))
        start = step * RANKS * RANK_ROWS % K
        self.queue[start : start + RANKS * RANK_ROWS] = gathered(keys)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        gradients = [p.grad.flatten() for p in self.f_q.parameters() if p.grad is not None]
        self.optimizer.step()
        return {
            "loss": loss.detach(),
            "queries": queries.detach(),
            "keys": keys,
            "gradient": torch.cat(gradients),
        }

    def mine(self, batch: Tensor) -> Tensor:
        """The rows of this rank."""
        return batch.view(RANKS, RANK_ROWS, *batch.shape[1:])[self.rank]

    @torch.no_grad()
    def keys(self, im_k: Tensor, order: Tensor) -> Tensor:
        """Keys [RANK_ROWS, DIM] of this rank's rows, made on whichever rank the order says."""
        order = order.clone() if self.rank == 0 else torch.zeros_like(order)
        distributed.broadcast(order, src=0)
        shuffled = gathered(im_k)[self.mine(order)]
        return self.mine(gathered(self.f_k(shuffled))[order.argsort()])

    @torch.no_grad()
    def move_key_encoder(self) -> None:
        for p_k, p_q in zip(self.f_k.parameters(), self.f_q.parameters(), strict=True):
            p_k.mul_(M).add_(p_q, alpha=1.0 - M)


@torch.no_grad()
def gathered(mine: Tensor) -> Tensor:
    """Rows of all ranks, in rank order."""
    parts = [torch.empty_like(mine) for _ in range(RANKS)]
    distributed.all_gather(parts, mine.contiguous())
    return torch.cat(parts)
