"""Evaluators on two ranks have the figures of one process."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.data.tiny_pack import add_masks, blobs, write_pack
from tests.support.trainer.rank_bodies import train
from tests.support.trainer.rank_processes import run_ranks
from trainer.evaluators.registry import evaluator_names
from trainer.schema.artifact_names import EVALUATION
from trainer.schema.evaluation import EvaluationReport, Figure

SETTINGS: dict[str, dict[str, Any]] = {
    "linear": {"positive_label": "a"},
    "few_label": {"labels_per_class": 3, "curve": [1], "draws": 4, "positive_label": "b"},
    "clustering": {"starts": 2},
    "anomaly": {"normal": ["a"]},
}


def baselines(folder: Path, *, ranks: int) -> dict[str, tuple[Figure, ...]]:
    """Return the figures of each evaluator for raw input and the untrained encoder."""
    spec = {
        "dataset": str(folder / "pack"),
        "epochs": 1,
        "batch_rows": 16,
        "precision": "fp32",
        "resources": {"gpus": ranks},
        "encoder": {"name": "small"},
        "views": {"side_px": 8},
        "kind": "finetune",
        "method": {"bn": "split", "bn_splits": 4},
        "evaluation": [{"name": name} | SETTINGS.get(name, {}) for name in evaluator_names()],
    }
    path, out = folder / f"spec{ranks}.json", folder / f"out{ranks}"
    path.write_text(json.dumps(spec))
    assert run_ranks(train, path, out, size=ranks) == [0] * ranks
    report = EvaluationReport.model_validate_json((out / EVALUATION).read_text())
    assert report.not_measured == ()
    assert all(each.result for each in report.evaluators)
    return {each.name: each.baselines.figures for each in report.evaluators if each.baselines}


@pytest.mark.contract
def test_two_ranks_have_the_figures_of_one_process(tmp_path: Path) -> None:
    images, labels = blobs(96, side_px=10, classes=3)
    write_pack(tmp_path / "pack", images, labels, classes=("a", "b", "c"))
    add_masks(tmp_path / "pack", (images[..., 0] > images[..., 1]).astype(np.uint8))
    one, two = (baselines(tmp_path, ranks=ranks) for ranks in (1, 2))
    assert [*one] == [*evaluator_names()]
    for name in one:
        for alone, shared in zip(one[name], two[name], strict=True):
            expected = (alone.value, alone.low, alone.high)
            assert (shared.value, shared.low, shared.high) == pytest.approx(expected, abs=1e-5)
            assert (shared.name, shared.n, shared.features) == (
                *(alone.name, alone.n, alone.features),
            )
