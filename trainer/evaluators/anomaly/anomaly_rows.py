"""Rows of a job for the search of anomalies: a bank of normal ones, and labelled ones to score."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.pack.format import Pack
from trainer.evaluators.base import EvaluationData
from trainer.evaluators.labelled_rows import evenly, rows_of_split_test, rows_trained_on
from trainer.modalities.base import Loader
from trainer.rng.philox import permuted_rows
from trainer.rng.seeds import derived_seed
from trainer.spec.resolved import ResolvedSpec

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class AnomalyRows:
    """Bank and test rows."""

    source: Loader[Any]
    bank: Tensor
    """int64 [M] rows that are normal, rising."""
    test_source: Loader[Any]
    test: Tensor
    """int64 [N], rising."""
    is_anomaly: NDArray[np.bool_]
    """[N]: whether a test row has none of the normal labels."""


def anomaly_rows(
    spec: ResolvedSpec,
    data: EvaluationData,
    *,
    normal: tuple[str, ...],
    bank_rows: int,
    test_rows: int,
) -> AnomalyRows:
    """Return the rows, evenly spaced where there are more than asked for.

    The bank has the rows with normal labels that are trained on: all, if the dataset has no labels.
    Test rows are those of the test dataset, of the split test, or all that have other labels, with
    a tenth of the normal ones, which is left out of the bank, the same for one seed.
    """
    source, test_source = data
    pack = source.pack
    trained, split_test = rows_trained_on(spec, pack), rows_of_split_test(spec, pack)
    bank = trained[_is_normal(pack, normal)[trained]] if pack.facts.labels else trained
    if test_source is not None:
        test = _labelled(test_source.pack, np.arange(test_source.pack.rows))
    elif len(split_test):
        test = _labelled(pack, split_test)
    else:
        order = permuted_rows(
            torch.arange(len(bank)),
            total=len(bank),
            seed=derived_seed(spec.seed, "anomaly"),
            epoch=0,
        ).numpy()
        tenth = max(1, len(bank) // 10)
        held_out, bank = np.sort(bank[order[:tenth]]), np.sort(bank[order[tenth:]])
        others = _labelled(pack, trained)
        others = others[~_is_normal(pack, normal)[others]]
        test = np.sort(np.concatenate([held_out, others]))
    tested = test_source or source
    test = evenly(test, test_rows)
    return AnomalyRows(
        source,
        torch.from_numpy(evenly(bank, bank_rows)),
        tested,
        torch.from_numpy(test),
        ~_is_normal(tested.pack, normal)[test],
    )


def _is_normal(pack: Pack, normal: tuple[str, ...]) -> NDArray[np.bool_]:
    numbers = [number for number, label in enumerate(pack.facts.labels) if label in normal]
    return np.isin(np.asarray(pack.labels), numbers)


def _labelled(pack: Pack, rows: Rows) -> Rows:
    return rows[np.asarray(pack.labels)[rows] >= 0]
