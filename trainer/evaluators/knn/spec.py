"""The settings of the weighted nearest-neighbour evaluation."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.record import Record


class KnnSpec(Record):
    """Weighted kNN on cosine similarity, the protocol of the MoCo authors' CIFAR notebook."""

    name: Literal["knn"] = "knn"
    """Which evaluator."""
    k: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Neighbours that vote. More than the bank holds means all of it."""
    temperature: Annotated[float, Field(gt=0.0, le=10.0)] = 0.1
    """A neighbour's vote weighs exp(similarity / temperature)."""
    feature: Literal["projection", "backbone"] = "projection"
    """The embedding after the head (the authors' choice) or the encoder's own feature."""
    every_epochs: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Evaluate after each so many epochs, and always after the last."""
    bank_rows: Annotated[int, Field(ge=1, le=2_000_000)] = 50_000
    """At most so many labelled rows of the dataset form the bank."""
    test_rows: Annotated[int, Field(ge=1, le=2_000_000)] = 10_000
    """At most so many labelled rows are classified."""
