"""Arm of this project: the trainer's own steps, as in a job."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trainer.accel.openmp  # noqa: F401  # first, before torch is loaded, as the trainer's own main

import torch  # isort: skip

from benchmarks.arms.interface import Arm, Block, Setup
from trainer.accel.device import DeviceConfig
from trainer.accel.malloc import keep_freed_memory
from trainer.engine.build import RunPaths, build_run
from trainer.engine.run import Run
from trainer.nn.views import Batch
from trainer.spec.job import JobSpec

EPOCHS = 200
"""Epochs of the authors' CIFAR-10 runs. Jobs of that length may compile; short ones may not."""
NEVER_STEPS, NEVER_S = 100_000, 86_400.0


class Ours:
    """Endless run."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def run_steps(self, count: int) -> Block:
        """Run `count` optimizer steps; return the loss of the pack's first rows afterwards."""
        began_s = time.perf_counter()
        for _ in range(count):
            self._run.advance()
        seconds = time.perf_counter() - began_s
        return Block(seconds, self._loss())

    @torch.no_grad()
    def _loss(self) -> float:
        run = self._run
        rows = torch.arange(min(run.spec.batch_rows or 1, run.source.pack.rows))
        views = run.views.random(run.source.raw(rows), rows, seed=run.spec.seed, epoch=0)
        batch = Batch(views, rows, identities=rows)
        return float(run.method.loss_at(batch, step=run.step).loss)


def spec_of(setup: Setup) -> JobSpec:
    """The recipe that all arms share: MoCo v2, with its blur, at any side."""
    return JobSpec.model_validate(
        {
            "dataset": "benchmark",
            "encoder": {"name": setup.encoder},
            "epochs": EPOCHS,
            "batch_rows": setup.batch_rows,
            "views": {"side_px": setup.side_px, "crop_scale": (0.2, 1.0), "blur_p": 0.5},
            "method": {"queue_rows": setup.queue_rows, "head": "mlp"},
            "optim": {"lr": setup.lr},
            "evaluation": None,
            "signals_every_steps": NEVER_STEPS,
            "checkpoint_every_s": NEVER_S,
        }
    )


@contextmanager
def open_arm(setup: Setup) -> Iterator[Arm]:
    """Open the run in a temporary folder, with the process settings of the trainer's main."""
    keep_freed_memory()
    with (
        tempfile.TemporaryDirectory(prefix="moco-") as out,
        build_run(
            spec_of(setup),
            RunPaths(Path(out), Path(setup.pack)),
            device_config=DeviceConfig(device="cpu"),
        ) as run,
    ):
        yield Ours(run)
