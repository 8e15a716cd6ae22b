"""Pretexts on images that are not trained on: a part of each evaluation of a job that has any."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.evaluators.base import EvaluationData, FeatureBank, Measured, NotMeasured
from trainer.evaluators.intervals import bootstrap_means, share
from trainer.evaluators.labelled_rows import evenly, rows_of_split_test
from trainer.modalities.base import Loader
from trainer.pretexts.registry import part_of
from trainer.rng.seeds import derived_seed
from trainer.schema.evaluation import Figure
from trainer.spec.resolved import ResolvedSpec
from trainer.spec.rules import filled

ROWS_MAX = 10_000
"""Maximum number of images."""


@dataclass(frozen=True, slots=True)
class HeldOutPretexts:
    """Rows to measure the pretexts of a job on. Each is corrupted alike in every round."""

    source: Loader[Any]
    rows: Tensor
    """int64 [n], rising."""
    every_epochs: int
    seed: int
    name: str = "pretexts"
    has_baselines: bool = False

    def measure(self, bank: FeatureBank) -> Measured:
        """Return the figures of the encoder and the heads as they are. Raises Stopped."""
        figures: list[Figure] = []
        for name, scores in bank.pretext_scores(self.source, self.rows).items():
            signals = part_of(name, "spec").TEST_SIGNALS
            for signal, values in zip(signals, scores, strict=True):
                figures += self._figure(signal, values)
        return Measured({each.name: each.value for each in figures}, tuple(figures))

    def baselines(self, bank: FeatureBank) -> Measured:
        """Return nothing: what a pretext is compared with is among its figures."""
        del bank
        return Measured({})

    def _figure(self, name: str, values: Tensor) -> tuple[Figure, ...]:
        if values.dtype == torch.bool:
            return share(name, int(values.sum()), len(values))
        return bootstrap_means({name: values.double().cpu().numpy()}, seed=self.seed)


def plan_pretexts(spec: ResolvedSpec, data: EvaluationData) -> HeldOutPretexts | NotMeasured:
    """Choose the rows, evenly spaced: of the test dataset, else of the split test.

    They are measured as often as the most frequent evaluator measures.
    """
    source = data.test_source or data.source
    rows = np.arange(source.pack.rows)
    if data.test_source is None:
        rows = rows_of_split_test(spec, source.pack)
    if not len(rows):
        return NotMeasured(
            "Pretexts are measured on training images only: no test dataset or split test is there."
        )
    return HeldOutPretexts(
        source,
        torch.from_numpy(evenly(rows, ROWS_MAX)),
        every_epochs=min(filled(each.every_epochs) for each in spec.evaluators),
        seed=derived_seed(spec.seed, "pretexts held out"),
    )
