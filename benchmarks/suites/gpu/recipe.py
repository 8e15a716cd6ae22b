"""The authors' CIFAR-10 recipe, epoch by epoch beside their own trace.

Trace: the log of the notebook `moco_cifar10_demo.ipynb` of the authors, 200 epochs, not symmetric.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness.report import print_lines
from benchmarks.suites.gpu.ceilings import synchronize
from trainer.accel.device import DeviceConfig
from trainer.engine.build import RunPaths, build_run
from trainer.engine.divergence import DivergenceGuard
from trainer.engine.run import Run
from trainer.methods.moco.defaults import moco_of
from trainer.spec.job import JobSpec
from trainer.spec.presets import with_preset

AUTHORS_TRACE = {
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
    """Results after one epoch."""

    number: int
    loss: float
    """Mean over its steps, in nats of one query."""
    knn_percent: float | None
    trained_s: float
    """Since the first step, without evaluations."""


@dataclass(slots=True)
class RecipeResult:
    """Results of the run."""

    rows: int
    epochs_planned: int
    symmetric: bool
    problem: str | None = None
    epochs: list[Epoch] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Epochs with a kNN, as Markdown."""
        head = [
            "| epoch | loss | kNN % | authors' loss | authors' kNN % | s of training |",
            "|---|---|---|---|---|---|",
        ]
        return head + [
            _table_row(epoch, self) for epoch in self.epochs if epoch.knn_percent is not None
        ]


class MeanLoss(DivergenceGuard):
    """Sum the losses on their device."""

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


def recipe_spec(
    epochs: int, *, symmetric: bool = False, changes: Mapping[str, Any] | None = None
) -> JobSpec:
    """Return the authors' recipe with another length and other `changes`."""
    job = JobSpec(dataset="cifar10", test_dataset="test", preset="moco-cifar10")
    spec = with_preset(job).spec
    fixed = {"epochs": epochs, "signals_every_steps": 100_000, "checkpoint_every_s": 86_400.0}
    settings: dict[str, Any] = spec.model_dump(mode="json") | fixed
    settings["method"]["symmetric"] = symmetric
    for name, value in (changes or {}).items():
        settings[name] = settings[name] | value if isinstance(value, dict) else value
    return JobSpec.model_validate(settings)


def run_recipe(
    spec: JobSpec, paths: RunPaths, device_config: DeviceConfig, *, until_s: float
) -> RecipeResult:
    """Train; stop at the end of an epoch that is past `until_s` of `time.monotonic`."""
    with build_run(spec, paths, device_config=device_config) as run:
        loss_terms = 2 if moco_of(spec).symmetric else 1
        result = RecipeResult(run.source.pack.rows, run.length.epochs, moco_of(spec).symmetric)
        losses = run.losses = MeanLoss(run.context.device)
        trained_s = 0.0
        while not run.is_done and time.monotonic() < until_s:
            trained_s += _train_epoch_s(run)
            number = run.step // run.length.steps_per_epoch
            knn = _knn(run) if _is_evaluated(number) or run.is_done else None
            result.epochs.append(Epoch(number, losses.read() / loss_terms, knn, trained_s))
            if knn is not None:
                print_lines(_table_row(result.epochs[-1], result))
        losses.check()
        warning = run.fallback_warning()
        result.problem = None if warning is None else warning.message
    return result


def _train_epoch_s(run: Run) -> float:
    synchronize(run.context.device)
    began_s = time.perf_counter()
    for _ in range(run.length.steps_per_epoch):
        run.advance()
    synchronize(run.context.device)
    return time.perf_counter() - began_s


def _is_evaluated(number: int) -> bool:
    return number in AUTHORS_TRACE or number % EVERY_EPOCHS == 0


def _knn(run: Run) -> float | None:
    if not run.evaluation.evaluators:
        return None
    results = run.evaluation.run(run.method, should_stop=lambda: False)
    return None if results is None else 100.0 * results.signals["knn_top1"]


def _table_row(epoch: Epoch, result: RecipeResult) -> str:
    loss, knn = (
        AUTHORS_TRACE.get(epoch.number, (None, None)) if not result.symmetric else (None, None)
    )
    if result.symmetric and epoch.number == 200:
        knn = SYMMETRIC_KNN
    cells = (epoch.loss, epoch.knn_percent, loss, knn, epoch.trained_s)
    return f"| {epoch.number} | " + " | ".join(map(_cell, cells)) + " |"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
