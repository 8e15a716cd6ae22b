"""Geometry of the embeddings of two views of each row: alignment, uniformity, rank, instances."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.evaluators.base import EvaluationData, FeatureBank
from trainer.evaluators.compared import ComparedEvaluator, ComparedResult, Subject
from trainer.evaluators.cosine import similarity, unit
from trainer.evaluators.geometry.spec import HEADLINES, SIGNALS, ResolvedGeometrySpec
from trainer.evaluators.intervals import bootstrap_means, percentiles, resamples, share
from trainer.evaluators.labelled_rows import evenly, image_notes, rows_of_split_test
from trainer.losses.embedding_signals import effective_rank
from trainer.modalities.base import Loader
from trainer.rng.seeds import derived_seed
from trainer.schema.evaluation import Features, Figure
from trainer.spec.resolved import ResolvedSpec


@dataclass(frozen=True)
class Geometry(ComparedEvaluator[ResolvedGeometrySpec]):
    """Rows to make two views of."""

    source: Loader[Any]
    rows: Tensor
    """int64 [n], rising."""
    seed: int

    signals = frozenset(SIGNALS)
    headlines = frozenset(HEADLINES)

    def compare(self, bank: FeatureBank, subject: Subject) -> ComparedResult:
        """Return the figures of two random views of the rows. Raises Stopped."""
        first, second = bank.pairs(
            self.source,
            self.rows,
            feature=subject.feature,
            seed=derived_seed(self.seed, "geometry"),
        )
        views = unit(first), unit(second)
        hits = instance_hits(*views).cpu()
        figures = (
            *share("instance_hit_at_1", int(hits.sum()), len(hits), features=subject.features),
            *bootstrap_means(
                {"alignment": alignment(*views).cpu().numpy()},
                seed=self.seed,
                features=subject.features,
            ),
            uniformity_figure(views, seed=self.seed, features=subject.features),
            Figure(
                name="rankme",
                value=effective_rank(first),
                n=len(first),
                features=subject.features,
            ),
        )
        return ComparedResult(figures)


def plan(spec: ResolvedSpec, own: ResolvedGeometrySpec, data: EvaluationData) -> Geometry:
    """Choose the rows, evenly spaced: of the test dataset, of the split test, or of all."""
    source = data.test_source or data.source
    rows = np.arange(source.pack.rows)
    tested = rows_of_split_test(spec, data.source.pack)
    if data.test_source is None and len(tested):
        rows = tested
    chosen = torch.from_numpy(evenly(rows, own.rows))
    return Geometry(own, source, chosen, spec.seed, notes=image_notes(spec, data))


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Return the squared distance of each pair of unit vectors, float64 [n] in [0, 4].

    Source: Wang & Isola, arXiv:2005.10242, with alpha 2.
    """
    return (first - second).square().sum(1)


def instance_hits(first: Tensor, second: Tensor) -> Tensor:
    """Return whether second[i] is the most similar to first[i] among all, bool [n].

    Of equal ones that with the lowest number is the first.
    """
    similarities = similarity(first, second)
    own = similarities.diagonal()[:, None]
    positions = torch.arange(len(first), device=first.device)
    is_before = (similarities == own) & (positions < positions[:, None])
    return ~((similarities > own) | is_before).any(1)


def uniformity_figure(views: tuple[Tensor, Tensor], *, seed: int, features: Features) -> Figure:
    """Return the mean over both views of log mean exp(-2 d^2), over pairs i < j of unit vectors.

    Its interval is of resampled rows, without pairs of a row with itself.
    Source: Wang & Isola, arXiv:2005.10242, with t 2.
    """
    n = len(views[0])
    counts = np.stack([np.ones(n, np.int64), *resamples(n, seed=seed)]).astype(np.float64)
    values = np.mean([_uniformity(view, counts) for view in views], axis=0)
    low, high = percentiles(values[1:])
    return Figure(
        name="uniformity",
        value=float(values[0]),
        n=n,
        low=low,
        high=high,
        interval=None if low is None else "bootstrap",
        features=features,
    )


def _uniformity(view: Tensor, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the uniformity of rows as often as each line of `counts` [R, n] says, [R]."""
    nearness = np.exp(4 * similarity(view, view).cpu().numpy() - 4)  # d^2 = 2 - 2 cos
    np.fill_diagonal(nearness, 0.0)
    pairs = counts.sum(1) ** 2 - (counts**2).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample of one row has no pairs
        return np.asarray(np.log(((counts @ nearness) * counts).sum(1) / pairs))
