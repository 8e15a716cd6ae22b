"""Clusters of held-out rows, compared with their labels by scikit-learn's measures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.evaluators.base import EvaluationData, FeatureBank, NotMeasured
from trainer.evaluators.clustering.agreement import (
    Counts,
    adjusted_rand_index,
    contingency,
    matched_accuracy,
    normalized_mutual_information,
)
from trainer.evaluators.clustering.spec import FIGURES, HEADLINES, ResolvedClusteringSpec
from trainer.evaluators.clustering.spherical_kmeans import spherical_kmeans
from trainer.evaluators.compared import ComparedEvaluator, ComparedResult, Subject
from trainer.evaluators.cosine import similarity, unit
from trainer.evaluators.intervals import bootstrap, bootstrap_means
from trainer.evaluators.labelled_rows import (
    LABELLED_ROWS_MIN,
    LabelledRows,
    evenly,
    held_out_rows,
    label_notes,
    too_few_labels,
)
from trainer.schema.evaluation import TEXT_MAX, Figure, Row
from trainer.spec.resolved import ResolvedSpec

SILHOUETTE_ROWS = 2_000

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Clustering(ComparedEvaluator[ResolvedClusteringSpec]):
    """Labelled rows to cluster."""

    rows: LabelledRows
    k: int
    seed: int

    signals = frozenset(FIGURES)
    headlines = frozenset(HEADLINES)

    def compare(self, bank: FeatureBank, subject: Subject) -> ComparedResult:
        """Return how well clusters of one subject agree with the labels. Raises Stopped."""
        features = unit(self.rows.features(bank, subject.feature))
        result = spherical_kmeans(
            features,
            k=self.k,
            starts=self.spec.starts,
            seed=self.seed,
            stop_if_asked=bank.stop_if_asked,
        )
        clusters, labels = result.labels.cpu().numpy(), self.rows.labels.cpu().numpy()
        figures = (
            *_agreement(labels, clusters, subject=subject, seed=self.seed),
            *silhouette(features.cpu(), clusters, subject=subject, seed=self.seed),
        )
        table = described(labels, clusters, self.rows.class_names)
        return ComparedResult(figures, {"clusters": table})


def plan(
    spec: ResolvedSpec, own: ResolvedClusteringSpec, data: EvaluationData
) -> Clustering | NotMeasured:
    """Choose the rows: those that other evaluators test with."""
    rows = held_out_rows(spec, data, rows_max=own.rows)
    if rows is None:
        pack = data.source.pack if data.test_source is None else data.test_source.pack
        reason = f"{too_few_labels(pack)}; clustering needs {LABELLED_ROWS_MIN}"
        return NotMeasured(f"{reason}, so nothing is clustered.")
    labels = np.asarray(rows.source.pack.labels)[rows.rows.numpy()]
    k = own.k or len(np.unique(labels))
    if not 2 <= k <= len(labels):
        return NotMeasured(
            f"{len(labels)} held-out labeled images cannot be put into {k} clusters; "
            "clustering needs at least 2 and as many images, so nothing is clustered."
        )
    return Clustering(own, rows, k, spec.seed, notes=label_notes(spec, data, rows.rows))


def _agreement(
    labels: Labels, clusters: Labels, *, subject: Subject, seed: int
) -> tuple[Figure, ...]:
    """Return the figures of all rows, with intervals of resampled rows."""

    def figure(name: str, measure: Callable[[Counts], float]) -> tuple[Figure, ...]:
        return bootstrap(
            name,
            lambda times: measure(contingency(labels, clusters, times=times)),
            n=len(labels),
            seed=seed,
            features=subject.features,
        )

    return (
        *figure("nmi", normalized_mutual_information),
        *figure("ari", adjusted_rand_index),
        *figure("clustering_accuracy", matched_accuracy),
    )


def silhouette(
    features: Tensor, clusters: Labels, *, subject: Subject, seed: int
) -> tuple[Figure, ...]:
    """Return the mean silhouette by cosine distance of some unit vectors, evenly spaced.

    None with a single cluster. Source: Rousseeuw 1987.
    """
    from sklearn.metrics import silhouette_samples  # noqa: PLC0415 - slow to load

    chosen = evenly(np.arange(len(clusters)), SILHOUETTE_ROWS)
    own, rows = clusters[chosen], features[torch.from_numpy(chosen)]
    if not 2 <= len(np.unique(own)) < len(own):
        return ()
    distances = (1 - similarity(rows, rows)).clamp_(min=0).fill_diagonal_(0).numpy()
    values = silhouette_samples(distances, own, metric="precomputed")
    return bootstrap_means({"silhouette": values}, seed=seed, features=subject.features)


def described(labels: Labels, clusters: Labels, names: Sequence[str]) -> list[Row]:
    """Return a row for each cluster that has rows: its size, and its most frequent label."""
    table = contingency(labels, clusters, times=np.ones(len(labels), np.int64))
    sizes, most = table.sum(0), table.argmax(0)
    return [
        {
            "cluster": cluster,
            "rows": int(sizes[cluster]),
            "label": names[most[cluster]][:TEXT_MAX],
            "share": float(table[most[cluster], cluster] / sizes[cluster]),
        }
        for cluster in np.flatnonzero(sizes).tolist()
    ]
