"""The settings of the retrieval evaluation."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.schema.base import Record
from trainer.schema.evaluation import Table
from trainer.schema.signals import Signal

KS = (1, 10)
"""Numbers of first rows whose figures are signals."""


class RetrievalSpec(Record):
    """Search by cosine similarity: do rows of the same label come first?

    Labels of the test dataset need not be those of the dataset.
    """

    name: Literal["retrieval"]
    """Evaluator name."""
    gallery: Literal["test", "train"] = "test"
    """Images that are searched: the test images, without the query, or those of the training data.

    """
    k: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Also report the figures of the first k images. Default: 10."""
    feature: Literal["projection", "backbone"] = "backbone"
    """Encoder output, which you download, or the embedding after the projection head."""
    every_epochs: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Epochs between evaluations; the last epoch is always evaluated."""
    gallery_rows: Annotated[int, Field(ge=2, le=2_000_000)] = 10_000
    """Maximum number of labeled images to search."""
    query_rows: Annotated[int, Field(ge=1, le=2_000_000)] = 2_000
    """Maximum number of labeled images to search for."""
    baselines: bool | None = None
    """Also evaluate raw input and the untrained encoder once. Default: yes."""


class ResolvedRetrievalSpec(RetrievalSpec):
    """Retrieval with every value."""

    k: int
    baselines: bool


FIGURES = {
    "hit_at_1": "share of queries whose most similar image has their label",
    "hit_at_10": "share of queries with an image of their label in the first 10",
    "precision_at_10": "share of the first 10 images that have the query's label",
    "recall_at_10": "share of the images of the query's label that are in the first 10",
    "ndcg_at_10": "discounted gain of the first 10 images, 1 for the best ranking",
    "r_precision": "precision of the first R images, where R have the query's label",
    "map": "mean average precision over all queries",
}
"""Signal -> its meaning."""
HEADLINES = ("hit_at_1", "map")
"""Signals that baselines have too."""
SIGNALS = {
    name: Signal("ratio", f"retrieval: {meaning}", f"retrieval_{name}_ratio", better="up")
    for name, meaning in FIGURES.items()
} | {
    "hit_at_1_raw": Signal(
        "ratio",
        "baseline: hit_at_1 of raw input, at most 32 px",
        "retrieval_hit_at_1_raw_ratio",
    ),
    "hit_at_1_untrained": Signal(
        "ratio",
        "baseline: hit_at_1 of the untrained encoder",
        "retrieval_hit_at_1_untrained_ratio",
    ),
    "map_raw": Signal(
        "ratio", "baseline: map of raw input, at most 32 px", "retrieval_map_raw_ratio"
    ),
    "map_untrained": Signal(
        "ratio", "baseline: map of the untrained encoder", "retrieval_map_untrained_ratio"
    ),
}
"""Signals of its rounds."""
TABLES = {
    "labels": Table(
        "Retrieval by label",
        {
            "label": "label of the queries",
            "queries": "number of queries",
            "hit_at_1": "share of them whose most similar image has their label",
            "map": "mean average precision",
        },
    )
}
"""Tables of its rounds."""
ADVICE = "search for fewer images, with a smaller `{field}.query_rows` or `{field}.gallery_rows`"
"""Sentence on what makes a round shorter; `{field}` is where the spec has the evaluator."""
