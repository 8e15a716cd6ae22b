"""Sentences on test labels that were trained on, against the labels that training gets."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from tests.support.data.tiny_pack import add_masks, blobs
from tests.support.trainer.evaluations import evaluating, labelled_pack
from trainer.data.pack.format import Pack
from trainer.evaluators.base import EvaluationData
from trainer.evaluators.labelled_rows import held_out_label_rows
from trainer.modalities.image.loader import PackLoader
from trainer.positives.base import partner_data

EVALUATORS: tuple[dict[str, Any], ...] = (
    {"name": "knn"},
    {"name": "linear"},
    {"name": "few_label", "labels_per_class": 3},
    {"name": "retrieval"},
    {"name": "clustering"},
    {"name": "anomaly", "normal": ["a"]},
    {"name": "segmentation"},
)
OF_TRAINING_ROWS = {"anomaly", "segmentation"}
"""Evaluators whose test rows are others than those whose labels are held out."""
CLASSES = ("a", "b", "c")
SUPERVISED: dict[str, Any] = {"method": {"name": "supcon"}, "positives": {"name": "label"}}


def planned_rows(plan: Any) -> Any:  # noqa: ANN401
    """Return the test rows of any evaluator, with their source."""
    rows = getattr(plan, "rows", plan)
    return getattr(plan, "queries", getattr(rows, "test", rows))


@pytest.mark.parametrize("evaluation", EVALUATORS, ids=lambda each: each["name"])
def test_labels_that_were_trained_on_are_counted(
    evaluation: dict[str, Any], tmp_path: Path
) -> None:
    images, labels = blobs(120, side_px=12, classes=3)
    pack = labelled_pack(tmp_path / "pack", images, labels, classes=CLASSES)
    add_masks(pack, (images[..., 0] > images[..., 1]).astype(np.uint8))
    job = evaluating(evaluation, pack, **SUPERVISED)
    (plan,) = cast(tuple[Any], job.evaluation.evaluators)
    rows = planned_rows(plan)
    tested = getattr(rows, "rows", rows).numpy()
    data = EvaluationData(PackLoader(Pack.open(pack), device=torch.device("cpu")), None)
    held_out = held_out_label_rows(job.spec, data)
    usable = partner_data(data.source.pack, train_rows=None, held_out=held_out).labels
    trained, seen = int((usable[tested] >= 0).sum()), len(np.unique(labels[tested]))
    assert (trained > 0) == (evaluation["name"] in OF_TRAINING_ROWS)
    assert plan.notes[-1] == (
        f"Training used labels: {trained} of these {len(tested)} images were trained on with "
        f"theirs, and {seen} of their {seen} labels were trained on."
    )


def test_labels_of_a_test_dataset_are_told_from_those_that_were_trained_on(tmp_path: Path) -> None:
    pack = labelled_pack(tmp_path / "pack", *blobs(60, side_px=12, classes=3), classes=CLASSES)
    test = labelled_pack(
        tmp_path / "test", *blobs(40, side_px=12, classes=3), classes=("b", "new", "other")
    )
    settings: dict[str, Any] = {"test": test, "test_dataset": "y"}
    (plan,) = evaluating(
        {"name": "retrieval"}, pack, **settings, **SUPERVISED
    ).evaluation.evaluators
    assert cast(Any, plan).notes == (
        "Training used labels: 0 of these 40 images were trained on with theirs, and 1 of their 3 "
        "labels were trained on.",
    )
    (without,) = evaluating({"name": "retrieval"}, pack, **settings).evaluation.evaluators
    assert cast(Any, without).notes == ()
