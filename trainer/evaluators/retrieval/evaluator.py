"""Retrieval: labelled rows ask a gallery for rows of their label, by cosine similarity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.evaluators.base import EvaluationData, FeatureBank, NotMeasured
from trainer.evaluators.compared import ComparedEvaluator, ComparedResult, Subject
from trainer.evaluators.intervals import bootstrap_means, share
from trainer.evaluators.labelled_rows import (
    LABELLED_ROWS_MIN,
    LabelledRows,
    evenly,
    held_out_rows,
    label_notes,
    labelled_split,
    too_few_labels,
)
from trainer.evaluators.retrieval.ranking import LabelledFeatures, ranking_figures
from trainer.evaluators.retrieval.spec import (
    FIGURES,
    HEADLINES,
    KS,
    ResolvedRetrievalSpec,
)
from trainer.schema.evaluation import TABLE_ROWS_MAX, TEXT_MAX, Figure, Row
from trainer.spec.resolved import ResolvedSpec


@dataclass(frozen=True)
class Retrieval(ComparedEvaluator[ResolvedRetrievalSpec]):
    """Queries, and the gallery that they ask."""

    gallery: LabelledRows
    queries: LabelledRows
    positions: Tensor | None
    """Positions of the queries in the gallery; None if they are no part of it."""
    seed: int
    """Seed of the resamples of intervals."""

    signals = frozenset(FIGURES)
    headlines = frozenset(HEADLINES)

    def compare(self, bank: FeatureBank, subject: Subject) -> ComparedResult:
        """Return means over the queries that have relevant rows. Raises Stopped."""
        gallery = _features(self.gallery, bank, subject)
        queries = self._queries(gallery, bank, subject)
        ks = sorted({*KS, self.spec.k})
        ranked = ranking_figures(queries, gallery, ks=ks, stop_if_asked=bank.stop_if_asked)
        values = {name: column.numpy() for name, column in ranked.figures.items()}
        left_out = int((~ranked.has_relevant).sum())
        labels = queries.labels.cpu()[ranked.has_relevant].numpy()
        return ComparedResult(
            _summarized(values, subject, seed=self.seed),
            {"labels": _by_label(self.gallery.class_names, labels, values)},
            (_left_out(left_out, len(queries.labels)),) if left_out else (),
        )

    def _queries(
        self, gallery: LabelledFeatures, bank: FeatureBank, subject: Subject
    ) -> LabelledFeatures:
        if self.positions is not None:
            return LabelledFeatures(*(part[self.positions] for part in gallery))
        queries = _features(self.queries, bank, subject)
        return queries._replace(rows=-1 - queries.rows)  # none of the gallery


def plan(
    spec: ResolvedSpec, own: ResolvedRetrievalSpec, data: EvaluationData
) -> Retrieval | NotMeasured:
    """Choose the rows. Raises DataError if a gallery has none of the test dataset's labels."""
    if own.gallery == "train":
        parts = labelled_split(spec, data, bank_rows=own.gallery_rows, test_rows=own.query_rows)
        if parts is not None:
            notes = label_notes(spec, data, parts[1].rows)
            return Retrieval(own, parts[0], parts[1], None, spec.seed, notes=notes)
    else:
        rows = held_out_rows(spec, data, rows_max=own.gallery_rows)
        if rows is not None:
            positions = torch.from_numpy(evenly(np.arange(len(rows.rows)), own.query_rows))
            notes = label_notes(spec, data, rows.rows[positions])
            return Retrieval(
                own, rows, rows, positions.to(rows.labels.device), spec.seed, notes=notes
            )
    pack = data.source.pack if data.test_source is None else data.test_source.pack
    return NotMeasured(
        f"{too_few_labels(pack)}; retrieval needs {LABELLED_ROWS_MIN}, so nothing is searched."
    )


def _features(rows: LabelledRows, bank: FeatureBank, subject: Subject) -> LabelledFeatures:
    features = rows.features(bank, subject.feature)
    positions = torch.arange(len(rows.labels), device=features.device)
    return LabelledFeatures(features, rows.labels, positions)


def _summarized(
    values: dict[str, NDArray[np.float64]], subject: Subject, *, seed: int
) -> tuple[Figure, ...]:
    """Return the means of all figures: shares of queries with Wilson's interval."""
    hits = [name for name in values if name.startswith("hit_at_")]
    shares = tuple(
        figure
        for name in hits
        for figure in share(
            name, int(values[name].sum()), len(values[name]), features=subject.features
        )
    )
    rest = {name: column for name, column in values.items() if name not in hits}
    return *shares, *bootstrap_means(rest, seed=seed, features=subject.features)


def _by_label(
    names: Sequence[str], labels: NDArray[np.int64], values: dict[str, NDArray[np.float64]]
) -> list[Row]:
    """Return a row for each label that is searched for."""
    rows: list[Row] = []
    for label in np.unique(labels)[:TABLE_ROWS_MAX].tolist():
        is_own = labels == label
        means: Row = {name: float(values[name][is_own].mean()) for name in HEADLINES}
        rows.append({"label": names[label][:TEXT_MAX], "queries": int(is_own.sum()), **means})
    return rows


def _left_out(queries: int, all_queries: int) -> str:
    return (
        f"{queries:,} of {all_queries:,} queries have no other image of their label to find, and "
        "are left out."
    )
