"""The cost of Momentum Contrast."""

from trainer.methods.cost import MethodCost
from trainer.methods.moco.spec import ResolvedMoCoSpec

COPIES_OF_KEYS = 1.5
"""Negatives in fp32 and, for a step in bf16, once more at half the size."""
LOGIT_KEYS = 16384
"""Negatives with logits in memory at once: `CHUNK_KEYS` of chunked_softmax.py."""


def cost(spec: ResolvedMoCoSpec, *, batch_rows: int) -> MethodCost:
    """Return the cost of a step.

    That is forward and backward of the query encoder (three passes) and a forward pass of the key
    encoder; the symmetric loss does both twice.
    """
    queue_rows = spec.queue_rows
    values = COPIES_OF_KEYS * queue_rows * spec.dim + min(queue_rows, LOGIT_KEYS) * batch_rows
    return MethodCost(4 * (2 if spec.symmetric else 1), views_kept=1, towers=2, values=values)
