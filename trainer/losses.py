"""InfoNCE: find each query's own key among shared negatives."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.autograd import Context

CHUNK_KEYS = 8192
"""So many negatives are looked at together: few calls, and the logits of a batch of 128 stay in
the caches of two cores."""
FEW = 16
"""Hidden negatives are found one by one where no more than one in so many can be hidden."""
HIDDEN_LOGIT = -1e30
"""Finite, so that a query that sees no negative at all has a gradient of 0 and not NaN."""


class Pairs(NamedTuple):
    """Which query must not see which negative, in the order of the negatives: int64 [P] each."""

    queries: Tensor
    negatives: Tensor


class Hidden(NamedTuple):
    """Negatives that a query must not see, as row ids: a [B, K] mask never exists as a whole."""

    query_rows: Tensor | None
    """int64 [B]. None: a row's own older keys are visible."""
    negative_rows: Tensor
    """int64 [K]."""
    empty: int
    """The id in `negative_rows` that nobody sees."""

    def mask(self, some: slice | Tensor) -> Tensor:
        """Bool [B or 1, S]: True where one of `some` S negatives is hidden."""
        rows = self.negative_rows[some]
        mask = (rows == self.empty)[None, :]
        if self.query_rows is None:
            return mask
        return mask | (rows[None, :] == self.query_rows[:, None])

    def pairs(self, queries: int) -> Pairs | None:
        """The same for all negatives, and so many queries, as pairs.

        None where masks cost less: when all negatives are looked at together, when many are hidden,
        and on a GPU, where the host would wait for the pairs.
        """
        if self.negative_rows.device.type != "cpu" or len(self.negative_rows) <= CHUNK_KEYS:
            return None
        rows = [] if self.query_rows is None else self.query_rows.tolist()
        found = np.flatnonzero(np.isin(self.negative_rows.numpy(), [*rows, self.empty]))
        if len(found) * FEW > len(self.negative_rows):
            return None
        places = torch.from_numpy(found)
        at, query = self.mask(places).expand(queries, -1).T.nonzero(as_tuple=True)
        return Pairs(query, places[at])

    def hide(self, logits: Tensor, start: int, pairs: Pairs | None) -> None:
        """Fill in HIDDEN_LOGIT where a query must not see a negative.

        `logits` [B, S] are those of S negatives from `start` on, `pairs` what `pairs` gave.
        """
        stop = start + logits.shape[1]
        if pairs is None:
            logits.masked_fill_(self.mask(slice(start, stop)), HIDDEN_LOGIT)
            return
        first, last = np.searchsorted(pairs.negatives.numpy(), (start, stop))
        logits[pairs.queries[first:last], pairs.negatives[first:last] - start] = HIDDEN_LOGIT


def info_nce(
    query: Tensor,
    key: Tensor,
    negatives: Tensor,
    *,
    temperature: float,
    hidden: Hidden | None = None,
) -> Tensor:
    """Cross-entropy of finding each query's own key among shared negatives, the mean in nats.

    `query`, `key` [B, D] and `negatives` [K, D] are unit vectors, `temperature` > 0. Between 0
    and ln(1 + K exp(2 / T)); ln(1 + K) if all similarities are equal; 0 if all are hidden.
    Under autocast on a CPU the products with the negatives are of numbers rounded to bfloat16, all
    else stays as it is.
    Source: He et al. 2020, Eq. 1 (arXiv:1911.05722).
    """
    positive = (query * key).sum(1) / temperature  # [B]
    rest: Tensor = _LogSum.apply(query, negatives, hidden, temperature)  # [B]
    return (torch.logaddexp(positive, rest) - positive).mean()


class _LogSum(torch.autograd.Function):
    """Logarithm of the sum over negatives of exp(similarity / T), and its gradient, in one pass.

    The gradient of a query is the mean of the negatives, weighted by the softmax, over T: [B, D]
    is all that is kept, and no logit is made twice. The running maximum is that of online softmax
    (Milakov and Gimelshein, arXiv:1805.02867). The negatives get no gradient.
    """

    @staticmethod
    def forward(
        ctx: Context, query: Tensor, negatives: Tensor, hidden: Hidden | None, temperature: float
    ) -> Tensor:
        """[B]."""
        scaled = query / temperature
        top = scaled.new_full((len(query),), HIDDEN_LOGIT)
        total, mean = torch.zeros_like(top), torch.zeros_like(query)
        pairs = None if hidden is None else hidden.pairs(len(query))
        with _products_as_autocast_asks():
            for start in range(0, negatives.shape[0], CHUNK_KEYS):
                some = negatives[start : start + CHUNK_KEYS]
                weights = scaled @ some.T
                if hidden is not None:
                    hidden.hide(weights, start, pairs)
                higher = torch.maximum(top, weights.amax(1))
                shrunk = torch.exp(top - higher)
                weights.sub_(higher[:, None]).exp_()
                total.mul_(shrunk).add_(weights.sum(1))
                mean.mul_(shrunk[:, None]).addmm_(weights, some)
                top = higher
        ctx.save_for_backward(mean.div_(total[:, None] * temperature))
        return top + total.log()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Of the query."""
        (mean,) = ctx.saved_tensors
        return grad[:, None] * mean, None, None, None


@contextmanager
def _products_as_autocast_asks() -> Iterator[None]:
    """On a CPU under autocast: products in bfloat16 inside, sums and results in fp32.

    Autocast itself would round the logits too: 1 / T, in steps of 1/32 at T 0.2.
    """
    if not torch.is_autocast_enabled("cpu"):
        yield
        return
    products = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # torch does not type it
    before = products.fp32_precision
    products.fp32_precision = "bf16"
    try:
        with torch.autocast("cpu", enabled=False):
            yield
    finally:
        products.fp32_precision = before
