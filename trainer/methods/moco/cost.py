"""The cost of Momentum Contrast."""

from trainer.methods.cost import MethodCost
from trainer.methods.moco.spec import ResolvedMoCoSpec

LOGIT_KEYS = 16384
"""Negatives with logits in memory at once: `CHUNK_KEYS` of chunked_softmax.py."""
LOGIT_COPIES = 2
"""Logits [B, B] of keys in the batch, as they are and masked."""


def cost(spec: ResolvedMoCoSpec, *, batch_rows: int, views: int) -> MethodCost:
    """Return the cost of a step.

    That is forward and backward of the query encoder (three passes) and a forward pass of the key
    encoder; the symmetric loss does both twice, and keeps the activations of both queries.
    """
    del views
    queue_rows, directions = spec.queue_rows, 2 if spec.symmetric else 1
    values = queue_rows * spec.dim + min(queue_rows, LOGIT_KEYS) * batch_rows
    if spec.in_batch:
        values += LOGIT_COPIES * directions * batch_rows**2
    return MethodCost(4 * directions, views_kept=directions, towers=2, values=values)
