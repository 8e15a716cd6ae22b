"""Balanced batches: groups of one label, each epoch in another order, the same when asked again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.data.dataset_facts import made_up_facts
from tests.support.data.tiny_pack import blobs, write_pack
from trainer.accel.device import DeviceConfig
from trainer.engine.balanced_order import BalancedOrder
from trainer.engine.build import RunPaths, build_run
from trainer.evaluators.knn.evaluator import Knn
from trainer.schema.errors import SpecError
from trainer.spec.cost import estimate
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

COUNTS = {0: 11, 1: 4, 2: 3, 3: 8}
LABELS = np.random.default_rng(0).permutation(
    np.array([label for label, rows in COUNTS.items() for _ in range(rows)] + [-1] * 5, np.int32)
)
K = 4
GROUPS = {0: 2, 1: 1, 3: 2}
"""Whole groups of each label: 3 rows are none."""


def order_of(seed: int = 0) -> BalancedOrder:
    return BalancedOrder(LABELS, rows_per_label=K, seed=seed, order=2)


def epoch_of(order: BalancedOrder, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    rows = order.rows_at(torch.arange(order.total), epoch=epoch)
    return np.asarray(rows.numpy()).reshape(-1, K)


def test_an_epoch_has_the_whole_groups_of_each_label() -> None:
    order = order_of()
    assert order.total == K * sum(GROUPS.values())
    for epoch in range(10):
        groups = epoch_of(order, epoch)
        labels = LABELS[groups]
        assert (labels == labels[:, :1]).all()
        assert dict(zip(*np.unique(labels[:, 0], return_counts=True), strict=True)) == GROUPS
        assert len(np.unique(groups)) == order.total


def test_groups_and_their_rows_change_with_epoch_and_seed() -> None:
    first = epoch_of(order_of(), 0)
    for other in (epoch_of(order_of(), 1), epoch_of(order_of(seed=1), 0)):
        assert (LABELS[first[:, 0]] != LABELS[other[:, 0]]).any()
        assert {frozenset(group) for group in first.tolist()} != {
            frozenset(group) for group in other.tolist()
        }
    taken = {int(row) for epoch in range(40) for row in epoch_of(order_of(), epoch).flat}
    assert taken == set(np.flatnonzero(np.isin(LABELS, list(GROUPS))))


def test_a_position_is_the_same_in_whatever_order_epochs_are_asked_for() -> None:
    order = order_of()
    expected = {epoch: epoch_of(order_of(), epoch) for epoch in range(5)}
    for epoch in (0, 1, 4, 1, 0, 3, 2, 0):
        assert (epoch_of(order, epoch) == expected[epoch]).all()
    some = torch.tensor([5, 0, 17])
    assert order.rows_at(some, epoch=2).tolist() == expected[2].flatten()[some].tolist()


def spec_of(**changes: object) -> JobSpec:
    words = {
        "dataset": "x",
        "epochs": 2,
        "batch_rows": 16,
        "encoder": {"name": "small"},
        "views": {"side_px": 12},
        "batching": {"rows_per_label": K},
    }
    return JobSpec.model_validate(words | changes)


def test_a_job_trains_on_balanced_batches_without_held_out_rows(tmp_path: Path) -> None:
    images, labels = blobs(120, side_px=12, classes=3)
    write_pack(tmp_path / "pack", images, labels, classes=("a", "b", "c"))
    paths = RunPaths(tmp_path / "out", tmp_path / "pack")
    device_config = DeviceConfig(device="cpu", threads=1)
    with build_run(spec_of(), paths, device_config=device_config) as run:
        (knn,) = run.evaluation.evaluators
        assert isinstance(knn, Knn)
        tested = knn.test.rows.tolist()
        batches = [run.batches.rows_of(step).numpy() for step in range(run.length.steps)]
    usable = np.bincount(np.delete(labels, tested)) // K
    assert len(batches) == 2 * (K * usable.sum() // 16)
    for rows in batches:
        groups = labels[rows].reshape(-1, K)
        assert (groups == groups[:, :1]).all()
        assert not set(rows.tolist()) & set(tested)


FACTS: dict[str, Any] = {"rows": 1000, "labels": ("a", "b"), "label_rows": (500, 500)}


@pytest.mark.parametrize(
    ("facts", "changes", "field", "reason"),
    [
        ({"labels": (), "label_rows": ()}, {}, "batching", "and this dataset has none"),
        ({"label_rows": (1000, 0)}, {}, "batching", "and this dataset has one"),
        ({}, {"batch_rows": 18}, "batch_rows", "use a multiple of 4 from 8"),
        ({}, {"batch_rows": 4}, "batch_rows", "use a multiple of 4 from 8"),
        (
            {},
            {"batch_rows": 16, "optim": {"accumulate_steps": 4}},
            "batch_rows",
            "16 images in 4 parts are not whole groups .* use a multiple of 16 from 32",
        ),
        (
            {"label_rows": (3, 3)},
            {"batch_rows": 8},
            "batching.rows_per_label",
            "too few images for one batch of 8 in groups of 4",
        ),
    ],
)
def test_labels_that_fill_no_balanced_batch_are_refused(
    facts: dict[str, Any], changes: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises(SpecError, match=reason) as refused:
        resolve(spec_of(**changes), made_up_facts(**(FACTS | facts)))
    assert refused.value.field == field


def test_steps_are_estimated_and_the_batch_is_a_multiple_of_the_group() -> None:
    facts = made_up_facts(rows=1000, labels=("a", "b"), label_rows=(503, 497))
    spec = resolve(spec_of(batch_rows=None, batching={"rows_per_label": 3}), facts).spec
    assert spec.batch_rows % 3 == 0
    for changes in (
        {"optim": {"accumulate_steps": 5}},
        {"resources": {"gpus": 2}, "method": {"bn_splits": 4}},
    ):
        spec = resolve(
            spec_of(batch_rows=None, batching={"rows_per_label": 3}, **changes), facts
        ).spec
        assert spec.batch_rows % (3 * spec.optim.accumulate_steps * spec.resources.gpus) == 0
    exact = resolve(spec_of(evaluation=None), facts).spec
    assert estimate(exact, facts).steps == 2 * ((503 // 4 + 497 // 4) * 4 // 16)
    held_out = resolve(spec_of(), facts).spec
    assert estimate(held_out, facts).steps < estimate(exact, facts).steps


def test_a_last_batch_of_one_label_is_left_out() -> None:
    facts = made_up_facts(rows=40, labels=("a", "b"), label_rows=(20, 20))
    for rows_per_label, steps in ((4, 3), (2, 3)):
        spec = resolve(
            spec_of(
                evaluation=None,
                partial_batch="keep",
                epochs=1,
                batching={"rows_per_label": rows_per_label},
            ),
            facts,
        ).spec
        assert estimate(spec, facts).steps == steps
    spec = spec.model_copy(update={"batch_rows": 18})
    assert estimate(spec, facts).steps == 3
    spec = spec.model_copy(update={"batch_rows": 38})
    assert estimate(spec, facts).steps == 1
