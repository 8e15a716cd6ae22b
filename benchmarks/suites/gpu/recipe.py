"""The authors' CIFAR-10 recipe, epoch by epoch beside their own trace.

Trace: the log of the notebook `moco_cifar10_demo.ipynb` of the authors, 200 epochs, not symmetric.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness.report import tell
from benchmarks.suites.gpu.ceilings import settle
from trainer.accel.device import DeviceConfig
from trainer.engine.build import RunPaths, build_run
from trainer.engine.divergence import DivergenceGuard
from trainer.engine.run import Run
from trainer.methods.moco.defaults import moco_of
from trainer.spec.job import JobSpec
from trainer.spec.presets import with_preset

TRACE = {
    1: (6.957, 31.98),
    2: (7.250, 33.5),
    3: (7.290, 34.7),
    5: (6.862, 38.0),
    10: (5.991, 48.0),
    20: (4.341, 61.4),
    50: (3.195, 73.3),
    100: (2.726, 78.1),
    150: (2.427, 81.2),
    200: (2.272, 82.58),
}
"""Epoch: mean loss, kNN in percent."""
SYMMETRIC_KNN = 85.3
"""After 200 epochs with both halves of the loss."""
EVERY_EPOCHS = 10
"""Interval of kNN evaluation in epochs; epochs of the trace are evaluated too."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """After one pass."""

    number: int
    loss: float
    """Mean over its steps, in nats of one query."""
    knn_percent: float | None
    trained_s: float
    """Since the first step, without evaluations."""


@dataclass(slots=True)
class Told:
    """Results of the run."""

    rows: int
    epochs_planned: int
    symmetric: bool
    trouble: str | None = None
    epochs: list[Epoch] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Epochs with a kNN, as Markdown."""
        head = [
            "| epoch | loss | kNN % | authors' loss | authors' kNN % | s of training |",
            "|---|---|---|---|---|---|",
        ]
        return head + [_line(one, self) for one in self.epochs if one.knn_percent is not None]


class MeanLoss(DivergenceGuard):
    """Adds losses up where they are."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self._sum, self._count = torch.zeros((), device=device), 0

    def note(self, loss: Tensor, *, step: int) -> None:
        """Add the loss of a step."""
        super().note(loss, step=step)
        self._sum += loss.detach()
        self._count += 1

    def read(self) -> float:
        """The mean since the last reading. Waits for the device."""
        mean = float(self._sum) / max(1, self._count)
        self._sum.zero_()
        self._count = 0
        return mean


def recipe(
    epochs: int, *, symmetric: bool = False, changed: Mapping[str, Any] | None = None
) -> JobSpec:
    """The authors', but for its length and what else is `changed`."""
    asked = JobSpec(dataset="cifar10", test_dataset="test", preset="moco-cifar10")
    spec = with_preset(asked).spec
    settings = {"epochs": epochs, "signals_every_steps": 100_000, "checkpoint_every_s": 86_400.0}
    words: dict[str, Any] = spec.model_dump(mode="json") | settings
    words["method"]["symmetric"] = symmetric
    for name, value in (changed or {}).items():
        words[name] = words[name] | value if isinstance(value, dict) else value
    return JobSpec.model_validate(words)


def followed(spec: JobSpec, paths: RunPaths, machine: DeviceConfig, *, until_s: float) -> Told:
    """Train; stop at the end of an epoch that is past `until_s` of `time.monotonic`."""
    with build_run(spec, paths, machine=machine) as run:
        halves = 2 if moco_of(spec).symmetric else 1
        told = Told(run.source.pack.rows, run.length.epochs, moco_of(spec).symmetric)
        losses = run.losses = MeanLoss(run.place.device)
        trained_s = 0.0
        while not run.is_done and time.monotonic() < until_s:
            trained_s += _pass_s(run)
            number = run.step // run.length.steps_per_epoch
            knn = _knn(run) if _is_told(number) or run.is_done else None
            told.epochs.append(Epoch(number, losses.read() / halves, knn, trained_s))
            if knn is not None:
                tell(_line(told.epochs[-1], told))
        losses.check()
        said = run.fallback_warning()
        told.trouble = None if said is None else said.message
    return told


def _pass_s(run: Run) -> float:
    settle(run.place.device)
    began_s = time.perf_counter()
    for _ in range(run.length.steps_per_epoch):
        run.advance()
    settle(run.place.device)
    return time.perf_counter() - began_s


def _is_told(number: int) -> bool:
    return number in TRACE or number % EVERY_EPOCHS == 0


def _knn(run: Run) -> float | None:
    if run.evaluation is None:
        return None
    found = run.evaluation.run(run.method, should_stop=lambda: False)
    return None if found is None else 100.0 * found["knn_top1"]


def _line(epoch: Epoch, told: Told) -> str:
    loss, knn = TRACE.get(epoch.number, (None, None)) if not told.symmetric else (None, None)
    if told.symmetric and epoch.number == 200:
        knn = SYMMETRIC_KNN
    cells = (epoch.loss, epoch.knn_percent, loss, knn, epoch.trained_s)
    return f"| {epoch.number} | " + " | ".join(map(_cell, cells)) + " |"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
