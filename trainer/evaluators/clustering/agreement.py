"""Agreement of clusters with labels: pure functions of their contingency table, in float64."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Counts = NDArray[np.float64]
"""Contingency table [L, K]: the number of rows of each label in each cluster."""


def contingency(
    labels: NDArray[np.int64], clusters: NDArray[np.int64], *, times: NDArray[np.int64]
) -> Counts:
    """Return the table of rows [N] that count `times` [N] each."""
    sizes = int(labels.max()) + 1, int(clusters.max()) + 1
    flat = np.bincount(labels * sizes[1] + clusters, weights=times, minlength=sizes[0] * sizes[1])
    return flat.astype(np.float64).reshape(sizes)


def normalized_mutual_information(table: Counts) -> float:
    """Return 2 I / (H_labels + H_clusters), in [0, 1]; 1 where both have one part only.

    Source: Strehl & Ghosh 2002, with the arithmetic mean of the entropies.
    """
    joint = table / table.sum()
    of_label, of_cluster = joint.sum(1), joint.sum(0)
    entropies = _entropy(of_label) + _entropy(of_cluster)
    mutual = entropies - _entropy(joint)
    return 1.0 if entropies == 0 else float(np.clip(2 * mutual / entropies, 0.0, 1.0))


def adjusted_rand_index(table: Counts) -> float:
    """Return the share of pairs that agree, less that of chance: 0 by chance, 1 at most.

    Source: Hubert & Arabie 1985.
    """
    together = _pairs(table)
    of_label, of_cluster = _pairs(table.sum(1)), _pairs(table.sum(0))
    chance = of_label * of_cluster / _pairs(table.sum())
    mean = (of_label + of_cluster) / 2
    return 1.0 if mean == chance else float((together - chance) / (mean - chance))


def matched_accuracy(table: Counts) -> float:
    """Return the share of rows in the cluster of their label, each cluster matched with one label.

    The matching is the best one (Kuhn 1955); labels or clusters without a partner count as wrong.
    """
    labels, clusters = linear_sum_assignment(table, maximize=True)
    return float(table[labels, clusters].sum() / table.sum())


def _entropy(shares: NDArray[np.float64]) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())


def _pairs(counts: NDArray[np.float64] | float) -> float:
    """Return the number of pairs inside of groups of these sizes."""
    sizes = np.asarray(counts)
    return float((sizes * (sizes - 1) / 2).sum())
