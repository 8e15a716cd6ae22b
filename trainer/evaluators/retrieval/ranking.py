"""Figures of rankings: how early the relevant rows of a gallery come when a query is asked."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.evaluators.cosine import similarity, unit

SIMILARITY_CELLS = 4_000_000
"""Similarities held at once."""
OWN_ROW = -2.0
"""Similarity of a query to itself: below every cosine, so that it ranks last."""


class LabelledFeatures(NamedTuple):
    """Features with their labels and row numbers."""

    features: Tensor
    """[N, D] of any length."""
    labels: Tensor
    """int64 [N]."""
    rows: Tensor
    """int64 [N], rising. Rows of one number in queries and gallery are the same row."""


class Ranked(NamedTuple):
    """Figures of the queries that have relevant rows, on the host."""

    has_relevant: Tensor
    """bool [Q]: whether a query has any."""
    figures: dict[str, Tensor]
    """Name -> float64 [R] in [0, 1], of the R queries that have."""


def ranking_figures(
    queries: LabelledFeatures,
    gallery: LabelledFeatures,
    *,
    ks: Sequence[int],
    stop_if_asked: Callable[[], None] = lambda: None,
) -> Ranked:
    """Return figures of how early relevant rows come in the ranked gallery.

    The gallery is ranked by cosine similarity in float64; equal rows rank by their number. A row is
    relevant if it has the label of the query and is not the query itself. For each k:
    `precision_at_<k>`, the share of relevant rows in the first k; `recall_at_<k>`, the share of the
    relevant rows that are in the first k; `hit_at_<k>`, 1 if one of them is; and `ndcg_at_<k>`, the
    sum of 1 / log2(rank + 1) of those, divided by that of the best ranking. `r_precision` is the
    precision in the first R, with R relevant rows, and `map` the mean of the precision at each
    relevant row. Raises what `stop_if_asked` raises.
    Sources: Manning, Raghavan & Schuetze 2008, chapter 8; Jarvelin & Kekalainen 2002 for NDCG.
    """
    parts = [_figures(relevant, ks) for relevant in _ranked(queries, gallery, stop_if_asked)]
    figures = {name: torch.cat([part.figures[name] for part in parts]) for name in parts[0].figures}
    return Ranked(torch.cat([part.has_relevant for part in parts]), figures)


def _ranked(
    queries: LabelledFeatures, gallery: LabelledFeatures, stop_if_asked: Callable[[], None]
) -> Iterator[Tensor]:
    """Yield for some queries at a time whether their ranked rows are relevant, bool [b, N].

    On the host.
    """
    gallery_units = unit(gallery.features)
    query_units = unit(queries.features)
    size = max(1, SIMILARITY_CELLS // len(gallery_units))
    for start in range(0, len(query_units), size):
        stop_if_asked()
        part = slice(start, start + size)
        is_own = queries.rows[part, None] == gallery.rows
        similarities = similarity(query_units[part], gallery_units).masked_fill_(is_own, OWN_ROW)
        order = similarities.argsort(dim=1, descending=True, stable=True)
        is_relevant = (queries.labels[part, None] == gallery.labels) & ~is_own
        yield is_relevant.gather(1, order).cpu()


def _figures(is_relevant: Tensor, ks: Sequence[int]) -> Ranked:
    """Return the figures of ranked relevance, bool [b, N]."""
    has_relevant = is_relevant.any(1)
    relevant = is_relevant[has_relevant].double()
    places = torch.arange(1, relevant.shape[1] + 1).double()
    total, hits = relevant.sum(1), relevant.cumsum(1)
    discount = 1 / torch.log2(places + 1)
    figures = {
        "map": (relevant * hits / places).sum(1) / total,
        "r_precision": hits.gather(1, total.long()[:, None] - 1)[:, 0] / total,
    }
    for k in ks:
        first_k = relevant[:, :k].sum(1)
        ideal = discount[:k].cumsum(0)[total.clamp(max=len(discount[:k])).long() - 1]
        figures[f"precision_at_{k}"] = first_k / k
        figures[f"recall_at_{k}"] = first_k / total
        figures[f"hit_at_{k}"] = (first_k > 0).double()
        figures[f"ndcg_at_{k}"] = (relevant[:, :k] * discount[:k]).sum(1) / ideal
    return Ranked(has_relevant, figures)
