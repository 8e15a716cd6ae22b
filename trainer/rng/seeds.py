"""Every draw has its own seed, derived from the job's; the global generator is never consumed."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derived_seed(seed: int, purpose: str) -> int:
    """Return a seed in [0, 2**63) for one purpose, unrelated to the seeds of other purposes."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def scoped_seed(seed: int) -> Iterator[None]:
    """Seed the CPU's global generator inside the block and put its state back after it."""
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)
