"""A real training job on the pretend GPU, step by step.

All names of the trainer that this room uses are imported here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.data.ingest import ingested
from tests.support.data.tiny_pack import blobs, write_pack
from tests.support.pretend_gpu.counts import Counts, Reading, Recording
from tests.support.pretend_gpu.cuda import pretend_gpu
from trainer.engine.train import DeviceConfig, RunPaths, train
from trainer.schema.events import Ended, Event, Logged, Started
from trainer.spec.job import JobSpec

ROWS, SIDE_PX, CLASSES = 70, 16, ("a", "b", "c")
NEVER_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """A job, and how it is run."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    """Fields of its JobSpec, beside those of `_spec`."""
    pack: str = "grid"
    """A key of PACKS."""
    graphs: bool = True

    def __str__(self) -> str:
        return f"{self.name}, {'captured' if self.graphs else 'eager'}"


@dataclass
class Result:
    """Counts and events of a run."""

    counts: Counts
    recordings: list[Recording]
    peak_bytes: int
    ended: Ended | None = None
    events: list[Event] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    """Before each step, and after the last."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps per epoch, from the run's first event."""
        return next(event.steps_per_epoch for event in self.events if isinstance(event, Started))

    @property
    def warnings(self) -> list[str]:
        """Warnings of the run."""
        logged = [event for event in self.events if isinstance(event, Logged)]
        return [event.message for event in logged if event.level == "warning"]

    def epoch(self, number: int) -> Reading:
        """Return what one epoch did, from 0."""
        steps = self.steps_per_epoch
        return self.readings[(number + 1) * steps].since(self.readings[number * steps])

    def waits_after_step(self, step: int) -> list[str]:
        """Return where the host waited after so many steps, until the run was asked to stop."""
        return self.counts.waits[self.readings[step].waits : self.readings[-1].waits]


def run(case: Case, folder: Path, *, epochs: int = 2, steps: int | None = None) -> Result:
    """Train for some epochs, or steps, of a longer job. It goes on from what lies in `folder`."""
    pack = folder / "pack"
    if not pack.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pack = PACKS[case.pack](folder)
    events: list[Event] = []
    readings: list[Reading] = []
    device_config = DeviceConfig(device="cuda", graphs=case.graphs, loader_threads=0)
    with pretend_gpu() as gpu:
        result = Result(gpu.counts, gpu.recordings, 0, events=events, readings=readings)

        def should_stop() -> bool:
            """Before each step. What comes of the end is no part of any step."""
            readings.append(gpu.counts.reading())
            steps_wanted = epochs * result.steps_per_epoch if steps is None else steps
            return len(readings) > steps_wanted

        result.ended = train(
            _spec(case),
            RunPaths(folder / "out", pack),
            device_config=device_config,
            emit=events.append,
            should_stop=should_stop,
        )
        result.peak_bytes = gpu.memory.peak_bytes
    return result


def _spec(case: Case) -> JobSpec:
    """Return a job whose signals are read at its first step and its last alone."""
    settings = {
        "dataset": "x",
        "epochs": 6,
        "batch_rows": 16,
        "encoder": {"name": "small"},
        "method": {"queue_rows": 64},
        "optim": {"lr": 0.05},
        "evaluation": None,
        "signals_every_steps": 100_000,
        "checkpoint_every_s": NEVER_S,
    }
    return JobSpec.model_validate(settings | case.settings)


def _grid(folder: Path) -> Path:
    images, labels = blobs(ROWS, side_px=SIDE_PX, classes=len(CLASSES))
    write_pack(folder / "pack", images, labels, classes=CLASSES)
    return folder / "pack"


def _many_sizes(folder: Path) -> Path:
    """Rows of two heights: one batch of an epoch has another shape than the others."""
    images, _ = blobs(ROWS, side_px=SIDE_PX, classes=len(CLASSES))
    write_pack(folder / "pack", [images[0], *(image[:12] for image in images[1:])])
    return folder / "pack"


def _deep(folder: Path) -> Path:
    """Rows of two channels and 16 bits."""
    values = np.random.default_rng(0).normal(1200, 200, (ROWS, SIDE_PX, SIDE_PX, 2))
    np.save(folder / "rows.npy", values.clip(0, 4095).astype("uint16"))
    return ingested(folder / "rows.npy", folder / "ingest", channels=2).pack.folder


PACKS: dict[str, Callable[[Path], Path]] = {"grid": _grid, "sizes": _many_sizes, "deep": _deep}
