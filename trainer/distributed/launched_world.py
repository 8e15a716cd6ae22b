"""Joining the ranks that torchrun has started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from trainer.distributed.process_group import ProcessGroup
from trainer.distributed.world import ALONE, World
from trainer.schema.errors import RankLost

TIMEOUT = timedelta(minutes=30)
"""Longest wait in a step for a rank that lives and does not answer."""
NCCL = {"NCCL_ALGO": "Ring", "NCCL_PROTO": "Simple"}
"""One way of adding up, so that two runs of one world have the same bits."""


def launched_ranks() -> int:
    """Return the number of ranks that torchrun has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_launched() -> bool:
    """Return whether this process is rank 0, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


def device_of_rank(name: str) -> str:
    """Return the device of this rank; on a machine with GPUs each rank has its own."""
    if launched_ranks() == 1 or name not in {"auto", "cuda"} or not torch.cuda.is_available():
        return name
    return f"cuda:{os.environ['LOCAL_RANK']}"


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the other ranks for the block; `device` is what `device_of_rank` says.

    Raises RankLost if they cannot be reached.
    """
    if launched_ranks() == 1:
        yield ALONE
        return
    place = torch.device("cpu" if device == "auto" else device)
    if place.type == "cuda":
        for name, value in NCCL.items():
            os.environ.setdefault(name, value)
        torch.cuda.set_device(place)
    try:
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=TIMEOUT)
        world = ProcessGroup(place)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise RankLost(f"The other ranks cannot be reached: {reason}") from error
    try:
        yield world
    finally:
        dist.destroy_process_group()
