"""Few-label score: that of the evaluator `few_label`, on the downloaded encoder and its baselines.

Each of 20 draws labels 5 digits of each class; the regression learns from those 50 and is tested
on the other 1,747. The encoder saw all images during training, but never a label.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.demo import digits, standalone_loader
from trainer.evaluators.few_label.draws import drawn, log_probabilities
from trainer.evaluators.intervals import standard_error
from trainer.evaluators.labelled_rows import Labelled

DRAWS, LABELS_PER_CLASS, SEED = 20, 5, 0


@dataclass(frozen=True, kw_only=True)
class Score:
    """Accuracy over the draws."""

    name: str
    is_baseline: bool
    accuracy: float
    standard_error: float


def score(folder: Path) -> dict[str, object]:
    """Return the accuracy of the encoder in `folder` and of its baselines, as plain JSON values."""
    pixels, labels = digits.images()
    views = standalone_loader.prepared(folder, [digits.enlarged(image) for image in pixels])
    trained = standalone_loader.features(standalone_loader.load(folder), views)
    untrained = standalone_loader.features(
        standalone_loader.untrained(folder, views, seed=0), views
    )
    raw = pixels.reshape(len(pixels), -1).astype(np.float32)
    baselines = (("raw pixels", raw), ("untrained encoder", untrained))
    return {
        "draws": DRAWS,
        "labels_per_class": LABELS_PER_CLASS,
        "tested": len(labels) - LABELS_PER_CLASS * len(np.unique(labels)),
        "scores": [
            asdict(_score("majority class", majority(labels), is_baseline=True)),
            *(
                asdict(_score(name, few_labels(values, labels), is_baseline=True))
                for name, values in baselines
            ),
            asdict(_score("trained encoder", few_labels(trained, labels), is_baseline=False)),
        ],
    }


def few_labels(features: NDArray[np.float32], labels: NDArray[np.int64]) -> list[float]:
    """Return the accuracy of each draw for features [N, D] of classes [N], on the other rows.

    The same draws and the same regression whatever the features are.
    """
    bank = Labelled(torch.from_numpy(features), torch.from_numpy(labels))
    answers = log_probabilities(
        bank, bank.features, per_class=LABELS_PER_CLASS, draws=DRAWS, seed=SEED
    )
    return [
        float((logs.argmax(1) == bank.labels)[_rest(len(labels), places)].double().mean())
        for places, logs in answers
    ]


def majority(labels: NDArray[np.int64]) -> list[float]:
    """Return the accuracy of each draw of always saying one class: as many of each are labelled."""
    return [float((labels[rest] == labels[places[0]]).mean()) for places, rest in _draws(labels)]


def _draws(labels: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Rows that a draw labels, and a mask of those it is tested on."""
    for draw in range(DRAWS):
        places = drawn(torch.from_numpy(labels), per_class=LABELS_PER_CLASS, draw=draw, seed=SEED)
        yield places.numpy(), _rest(len(labels), places).numpy()


def _rest(rows: int, places: Tensor) -> Tensor:
    rest = torch.ones(rows, dtype=torch.bool)
    rest[places] = False
    return rest


def _score(name: str, accuracies: list[float], *, is_baseline: bool) -> Score:
    values = np.array(accuracies)
    return Score(
        name=name,
        is_baseline=is_baseline,
        accuracy=float(values.mean()),
        standard_error=standard_error(values),
    )
