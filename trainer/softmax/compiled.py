"""Softmax over negatives by compiled code, where the CPU has a matrix unit."""

import math
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from trainer.hidden import Hidden
from trainer.softmax.laid import BLOCK, Laid
from trainer.softmax.share import Share

PARTS = 8
"""Looked at by themselves and added up, however many threads there are: the sums depend on it."""
LEAST, MOST = 2.0**-100, 2.0**100
"""Between them a sum of weights says that none was too great for a float32, and none too small to
count."""


def seen(queries: Tensor, negatives: Laid, hidden: Hidden | None) -> Share | None:
    """What `queries` over T, [B, D], find among `negatives` [K, D] that are laid across as well.

    None where a sum of weights leaves their range: if a query sees no negative, and among unit
    vectors perhaps if T is below 0.02.
    """
    assert negatives.crew is not None
    assert negatives.across is not None
    look: Any = import_module("trainer.softmax.kernels").look
    count, width, blocks = *negatives.keys.shape, len(negatives.blocks)
    if hidden is None:
        hidden = Hidden(None, torch.zeros(count, dtype=torch.int64), empty=-1)
    asked, rows = _asked(queries, hidden).numpy(), hidden.negative_rows.numpy()
    parts = min(PARTS, blocks)
    found = torch.empty((parts, width + 1, asked.shape[1]))
    arrays = [each.view(torch.uint16).numpy() for each in (negatives.blocks, negatives.across)]
    places = found.numpy()

    def part(at: int) -> None:
        start, end = blocks * at // parts, blocks * (at + 1) // parts
        some, others = (each[start:end] for each in arrays)
        of_some = rows[start * BLOCK : end * BLOCK]
        look(some, others, of_some, hidden.empty, asked, places[at])

    negatives.crew.share(part, parts)
    together = found.sum(0)[:, : len(queries)]
    sums = together[width]
    if not bool(((sums > LEAST) & (sums < MOST)).all()):
        return None
    return Share(sums.log(), (together[:width] / sums).T)


def _asked(queries: Tensor, hidden: Hidden) -> Tensor:
    """[B, D] to int32 [D / 2 + 1, B]: what the kernel must know of queries, and none besides.

    Logits are measured in powers of two. Rows are compared in their last 32 bits.
    """
    count, width = queries.shape
    asked = torch.zeros((width // 2 + 1, count + -count % BLOCK), dtype=torch.int32)
    asked[:-1, :count] = (queries * math.log2(math.e)).bfloat16().view(torch.int32).T
    asked[-1] = hidden.empty
    if hidden.query_rows is not None:
        asked[-1, :count] = hidden.query_rows
    return asked
