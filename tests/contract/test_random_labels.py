"""Labels drawn at random teach nothing: held-out images are classified at chance."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.data.tiny_pack import blobs, write_pack
from trainer.__main__ import main as train_main
from trainer.engine.signal_log import read_history

ROWS, CLASSES, SIDE_PX = 400, 4, 12
HELD_OUT = ROWS // 10
SIGMAS = 3.5


def knn_of(folder: Path, labels: np.ndarray[Any, np.dtype[np.int32]]) -> float:
    """Return the last kNN accuracy of a short supervised job."""
    images, _ = blobs(ROWS, side_px=SIDE_PX, classes=CLASSES)
    write_pack(folder / "pack", images, labels, classes=tuple("abcd"))
    job = {
        "dataset": str(folder / "pack"),
        "epochs": 12,
        "batch_rows": 48,
        "precision": "fp32",
        "encoder": {"name": "small"},
        "views": {"side_px": SIDE_PX},
        "method": {"name": "supcon"},
        "positives": {"name": "label"},
        "batching": {"rows_per_label": 4},
        "evaluation": {"name": "knn", "every_epochs": 12, "k": 20, "baselines": False},
    }
    (folder / "spec.json").write_text(json.dumps(job))
    assert train_main([str(folder / "spec.json"), "--out", str(folder / "run")]) == 0
    lines = read_history(folder / "run" / "metrics.jsonl", until_step=10**9)
    return [line["knn_top1"] for line in lines if "knn_top1" in line][-1]


@pytest.mark.contract
def test_random_labels_give_chance_and_true_ones_more(tmp_path: Path) -> None:
    chance = 1 / CLASSES
    error = SIGMAS * (chance * (1 - chance) / HELD_OUT) ** 0.5
    draw = np.random.default_rng(1).integers(0, CLASSES, ROWS).astype(np.int32)
    assert abs(knn_of(tmp_path / "random", draw) - chance) <= error
    _, labels = blobs(ROWS, side_px=SIDE_PX, classes=CLASSES)
    assert knn_of(tmp_path / "true", labels) > chance + error
