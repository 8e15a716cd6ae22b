"""The settings of the weighted nearest-neighbour evaluation."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.schema.base import Record

K_MIN, K_MAX, K_SHARE = 5, 200, 10
"""Bounds of a suggested k, and the part of the smallest class that it is: one in so many rows."""


class KnnSpec(Record):
    """Weighted kNN on cosine similarity.

    The protocol of the MoCo authors' CIFAR-10 notebook: k 200, temperature 0.1, `projection`.
    """

    name: Literal["knn"] = "knn"
    """Which evaluator."""
    k: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Neighbors that vote. Left out: a tenth of the smallest class in the bank, from 5 to 200."""
    temperature: Annotated[float, Field(gt=0.0, le=10.0)] = 0.1
    """A neighbour's vote weighs exp(similarity / temperature)."""
    feature: Literal["projection", "backbone"] = "backbone"
    """The encoder's own feature, which is what you download, or the embedding after the head."""
    every_epochs: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Evaluate after each so many epochs, and always after the last."""
    bank_rows: Annotated[int, Field(ge=1, le=2_000_000)] = 50_000
    """At most so many labelled rows of the dataset form the bank."""
    test_rows: Annotated[int, Field(ge=1, le=2_000_000)] = 10_000
    """At most so many labelled rows are classified."""
    baselines: bool | None = None
    """Classify once with raw input, the untrained encoder and the majority class. Left out: yes."""
