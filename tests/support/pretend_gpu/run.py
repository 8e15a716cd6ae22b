"""A real training job on the pretend GPU, step by step.

All names of the trainer that this room uses are imported here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from tests.support.pretend_gpu.counts import Counts, Reading, Recording
from tests.support.pretend_gpu.cuda import pretend_gpu
from tests.support.pretend_gpu.device import PretendGpu
from tests.support.pretend_gpu.packs import PACKS
from trainer.data.pack.format import Pack
from trainer.engine.run import Run
from trainer.engine.train import DeviceConfig, RunPaths, train
from trainer.schema.events import Ended, Event, Logged, Started
from trainer.spec.cost import estimate
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

QUEUE_ROWS = 64
NEVER_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """A job, and how it is run."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    """Fields of its JobSpec, beside those of `_spec`."""
    pack: str = "image"
    """A key of PACKS."""
    graphs: bool = True
    device: str = "cuda:0"
    """One of two GPUs."""

    def __str__(self) -> str:
        return f"{self.name}, {'captured' if self.graphs else 'eager'}"


class Span(NamedTuple):
    """Counts before and after a part of a run."""

    before: Reading
    after: Reading

    @property
    def done(self) -> Reading:
        """Counts that were added in between."""
        return self.after.since(self.before)


@dataclass
class Result:
    """Counts and events of a run."""

    counts: Counts
    recordings: list[Recording]
    peak_bytes: int = 0
    ended: Ended | None = None
    events: list[Event] = field(default_factory=list)
    steps: list[Span] = field(default_factory=list)
    evaluations: list[Span] = field(default_factory=list)
    """Rounds of all evaluators; the baselines are one."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps per epoch, from the run's first event."""
        return next(event.steps_per_epoch for event in self.events if isinstance(event, Started))

    @property
    def warnings(self) -> list[str]:
        """Warnings of the run."""
        logged = [event for event in self.events if isinstance(event, Logged)]
        return [event.message for event in logged if event.level == "warning"]

    def epoch(self, number: int) -> list[Reading]:
        """Return what each step of one epoch did, from 0."""
        steps = self.steps_per_epoch
        return [span.done for span in self.steps[number * steps : (number + 1) * steps]]

    def pageable(self, span: Span) -> list[int]:
        """Return the bytes of each copy to the device from memory that is not pinned."""
        copies = self.counts.to_device[span.before.copies_to_device : span.after.copies_to_device]
        return [copy.size_bytes for copy in copies if not copy.is_pinned]

    def waits_after_step(self, step: int) -> list[str]:
        """Return where the host waited after so many steps, in and between them.

        Rounds of evaluation are left out: they read their result.
        """
        first, last = self.steps[step - 1].after.waits, self.steps[-1].after.waits
        rounds = [range(span.before.waits, span.after.waits) for span in self.evaluations]
        return [
            self.counts.waits[index]
            for index in range(first, last)
            if not any(index in one for one in rounds)
        ]


def run(case: Case, folder: Path, *, epochs: int = 2, steps: int | None = None) -> Result:
    """Train for some epochs, or steps, of a longer job. It goes on from what lies in `folder`."""
    pack = folder / "pack"
    if not pack.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pack = PACKS[case.pack](folder)
    device_config = DeviceConfig(device=case.device, graphs=case.graphs, loader_threads=0)
    with pretend_gpu(devices=2) as gpu:
        result = Result(gpu.counts, gpu.recordings)

        def should_stop() -> bool:
            return len(result.steps) >= (
                epochs * result.steps_per_epoch if steps is None else steps
            )

        with _counted(gpu, "advance", result.steps), _counted(gpu, "evaluate", result.evaluations):
            result.ended = train(
                spec_of(case),
                RunPaths(folder / "out", pack),
                device_config=device_config,
                emit=result.events.append,
                should_stop=should_stop,
            )
        result.peak_bytes = gpu.memory.peak_bytes
    return result


@contextmanager
def _counted(gpu: PretendGpu, name: str, spans: list[Span]) -> Iterator[None]:
    """Read the counts before and after each call of a method of the run."""
    whole: Callable[..., Any] = getattr(Run, name)

    def counted(run: Run, *args: Any) -> Any:  # noqa: ANN401
        before = gpu.counts.reading()
        result = whole(run, *args)
        spans.append(Span(before, gpu.counts.reading()))
        return result

    with mock.patch.object(Run, name, counted):
        yield


def estimated_bytes(case: Case, folder: Path) -> int:
    """Return the estimate of the memory of a case whose pack lies in `folder`."""
    facts = Pack.open(folder / "pack").facts
    return estimate(resolve(spec_of(case), facts).spec, facts).memory_bytes


def spec_of(case: Case) -> JobSpec:
    """Return a job whose signals are read at its first step and its last alone."""
    settings = {
        "dataset": "x",
        "epochs": 6,
        "batch_rows": 16,
        "encoder": {"name": "small"},
        "method": {"queue_rows": QUEUE_ROWS},
        "optim": {"lr": 0.05},
        "evaluation": None,
        "signals_every_steps": 100_000,
        "checkpoint_every_s": NEVER_S,
    }
    return JobSpec.model_validate(settings | case.settings)
