"""Rotation: an encoder that learns from quarter turns alone, asked for those of other images."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.suites.breadth.claim import Claim, Row
from benchmarks.suites.breadth.jobs import Experiment
from benchmarks.suites.breadth.lab import Lab
from benchmarks.suites.breadth.methods import CIFAR_ROWS, cifar10_part

HELD_OUT_ROWS = 1_000
WANTED, CHANCE = 0.5, 0.25
SETTINGS: Mapping[str, Any] = {
    "encoder": {"name": "small"},
    "method": {"name": "none"},
    "auxiliary": [{"name": "rotation"}],
    "batch_rows": 128,
    "epochs": 12,
    "schedule": {"name": "cosine", "per": "step"},
    "evaluation": {"name": "knn", "every_epochs": 12, "feature": "backbone"},
}
"""Settings of one run of 12 epochs with one seed; not tuned on the held-out images."""


def rotation(lab: Lab) -> Iterator[Row]:
    """Yield the row of turns that are recognized."""
    train = cifar10_part(lab, "train", CIFAR_ROWS)
    test = cifar10_part(lab, "test", HELD_OUT_ROWS, name="cifar10-held-out")
    signals = Experiment("rotation", SETTINGS, train, test).signals(lab)
    figure = signals["rotation_top1_test"]
    yield Row(
        claim="rotation: quarter turns recognized",
        data=f"CIFAR-10, 10,000 rows, {SETTINGS['epochs']} epochs; {HELD_OUT_ROWS:,} test images",
        figure=str(figure),
        baseline=f"chance {CHANCE}; kNN of its encoder {signals['knn_top1'].mean:.3f}, of the "
        f"untrained {signals['knn_top1_untrained'].mean:.3f}",
        wanted=f">= {WANTED}",
        is_met=figure.mean >= WANTED,
    )


CLAIMS = (
    Claim(
        name="rotation",
        kind="images",
        files=("cifar10-train.zip", "cifar10-test.zip"),
        settings=SETTINGS,
        measure=rotation,
    ),
)
