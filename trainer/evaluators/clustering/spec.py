"""The settings of the clustering evaluation."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.schema.base import Record
from trainer.schema.evaluation import Table
from trainer.schema.signals import Signal


class ClusteringSpec(Record):
    """Spherical k-means on held-out images, and how well the clusters agree with the labels."""

    name: Literal["clustering"]
    """Evaluator name."""
    k: Annotated[int, Field(ge=2, le=2_000)] | None = None
    """Number of clusters. Default: the number of labels among the images."""
    starts: Annotated[int, Field(ge=1, le=100)] = 10
    """Number of random starts, of which the best is taken."""
    feature: Literal["projection", "backbone"] = "backbone"
    """Encoder output, which you download, or the embedding after the projection head."""
    every_epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Epochs between evaluations; the last epoch is always evaluated. Default: about 10 rounds."""
    rows: Annotated[int, Field(ge=2, le=100_000)] = 5_000
    """Maximum number of labeled images, held out as for kNN."""
    baselines: bool | None = None
    """Also evaluate raw input and the untrained encoder once. Default: yes."""


class ResolvedClusteringSpec(ClusteringSpec):
    """Clustering with every value; `k` None is the number of labels among the images."""

    every_epochs: int
    baselines: bool


FIGURES = {
    "nmi": "normalized mutual information of clusters and labels, 1 if they agree",
    "ari": "adjusted Rand index of clusters and labels: 0 by chance, 1 if they agree",
    "clustering_accuracy": "share of images in the cluster that is matched with their label",
    "silhouette": "mean silhouette of the clusters, by cosine distance (-1 to 1)",
}
"""Signal -> its meaning."""
HEADLINES = ("nmi",)
"""Signals that baselines have too."""
SIGNALS = {
    "nmi": Signal("ratio", f"clustering: {FIGURES['nmi']}", "clustering_nmi_ratio", better="up"),
    "ari": Signal("1", f"clustering: {FIGURES['ari']}", "clustering_ari", better="up"),
    "clustering_accuracy": Signal(
        "ratio",
        f"clustering: {FIGURES['clustering_accuracy']}",
        "clustering_accuracy_ratio",
        better="up",
    ),
    "silhouette": Signal(
        "1", f"clustering: {FIGURES['silhouette']}", "clustering_silhouette", better="up"
    ),
    "nmi_raw": Signal(
        "ratio", "baseline: nmi of raw input, at most 32 px", "clustering_nmi_raw_ratio"
    ),
    "nmi_untrained": Signal(
        "ratio", "baseline: nmi of the untrained encoder", "clustering_nmi_untrained_ratio"
    ),
}
"""Signals of its rounds."""
TABLES = {
    "clusters": Table(
        "Clusters",
        {
            "cluster": "number of the cluster",
            "rows": "number of images in it",
            "label": "most frequent label",
            "share": "share of images with that label",
        },
    )
}
"""Tables of its rounds."""
ADVICE = "cluster fewer images, with a smaller `{field}.rows`, or with fewer `{field}.starts`"
"""Sentence on what makes a round shorter; `{field}` is where the spec has the evaluator."""
