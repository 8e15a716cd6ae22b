"""Laid: negatives in bfloat16, as a CPU's matrix unit takes them."""

from importlib import import_module

from torch import Tensor
from torch.nn import functional as F

from trainer.crew import Crew

BLOCK = 32
"""Negatives that lie together, and a divisor of their dimensions: `trainer.tiles.SIDE`, which
cannot be read from there without loading the compiler."""


class Laid:
    """Negatives [K, D], one after the other and, for compiled code, across as well.

    A product adds up over what lies next to each other in memory: over dimensions where logits are
    made, over negatives where their mean is. To turn them round at each step would take longer
    than both products.
    """

    def __init__(self, keys: Tensor, *, crew: Crew | None = None) -> None:
        """`keys` float32 [K, D] on a CPU; `crew`: look at them by compiled code, if possible."""
        count, width = keys.shape
        padded = F.pad(keys.bfloat16(), (0, 0, 0, -count % BLOCK))
        self.keys = padded[:count]
        """[K, D]."""
        self.blocks = padded.view(-1, BLOCK, width)
        """[K / BLOCK, BLOCK, D], the same memory; zero beyond K."""
        self.across: Tensor | None = None
        """[K / BLOCK, D, BLOCK], if compiled code takes them."""
        self.crew = crew
        if crew is not None and _is_possible(width):
            self.across = self.blocks.transpose(1, 2).contiguous()

    @property
    def nbytes(self) -> int:
        """Of memory."""
        return self.blocks.nbytes + (0 if self.across is None else self.across.nbytes)

    def write(self, slots: Tensor, keys: Tensor) -> None:
        """`keys` [N, D] over those in `slots`, int64 [N], each of which is there once."""
        rounded = keys.bfloat16()
        self.keys.index_copy_(0, slots, rounded)
        if self.across is not None:
            self.across[slots // BLOCK, :, slots % BLOCK] = rounded


def _is_possible(width: int) -> bool:
    """Whether compiled code takes negatives of so many dimensions here."""
    return width % BLOCK == 0 and bool(import_module("trainer.tiles").are_there())
