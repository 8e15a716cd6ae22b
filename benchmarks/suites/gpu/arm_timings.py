"""Arms in one process on one device, in interleaved rounds.

Ours are runs of the trainer, views included. On one device two captured steps of a large network
would not leave each other room: each graph keeps the memory of its activations.
"""

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from benchmarks.harness.interleaving import Ratios, noise_ratios, relative_speeds, round_order
from benchmarks.suites.gpu.cases import Case, spec_of
from benchmarks.suites.gpu.ceilings import synchronize
from benchmarks.suites.gpu.practice_arms import GpuPracticeStep, practice_batches, random_views
from trainer.accel.device import DeviceConfig, asks_for_fused_kernels
from trainer.data.pack.format import Pack
from trainer.engine.build import RunPaths, build_run
from trainer.engine.run import Run
from trainer.spec.job import JobSpec

OURS, EAGER, PLAIN = "ours", "ours, no graph", "ours, no graph, plain batch norm"
STEP, LOOP = "practice, views given", "practice, with its loader"

Steps = Callable[[int], None]
"""Function that launches a number of optimizer steps, without synchronizing."""


@dataclass(frozen=True, slots=True)
class BenchmarkContext:
    """Device and folder shared by all arms."""

    device: torch.device
    folder: Path
    """Holds packs, and what runs write."""
    workers: int
    """Processes of a DataLoader."""

    def pack(self, case: Case) -> Path:
        """Return the path of the pack with the case's rows."""
        return self.folder / f"pack-{case.row_px}-{case.rows}"


@dataclass(frozen=True, slots=True)
class CaseTimings:
    """Timed blocks, in the order in which they ran."""

    case: Case
    seconds: Mapping[str, Sequence[float]]
    subject: str
    problems: Mapping[str, str]
    """Error or warning of each arm that failed or fell back."""

    def rate(self, name: str) -> float:
        """Rows a second, the median of the blocks."""
        return self.case.batch_rows * self.case.timed / median(self.seconds[name])

    def ratios(self) -> dict[str, Ratios]:
        """Return the subject's speed relative to each other arm; under its own name, A/A."""
        own = self.seconds[self.subject]
        pairs = list(zip(own[::2], own[1::2], strict=True))
        others = {name: times for name, times in self.seconds.items() if name != self.subject}
        ratios = {name: relative_speeds(pairs, times) for name, times in others.items()}
        return {self.subject: noise_ratios(pairs), **ratios}


@contextmanager
def our_run(
    case: Case, context: BenchmarkContext, *, graphs: bool = True, spec: JobSpec | None = None
) -> Iterator[Run]:
    """A run of the case in a folder of its own."""
    device_config = DeviceConfig(
        device=str(context.device),
        graphs=graphs,
        fused_kernels=asks_for_fused_kernels(os.environ),
    )
    with tempfile.TemporaryDirectory(dir=context.folder) as out:
        paths = RunPaths(Path(out), context.pack(case))
        with build_run(spec or spec_of(case), paths, device_config=device_config) as run:
            yield run


def time_arms(case: Case, context: BenchmarkContext, names: Sequence[str]) -> CaseTimings:
    """Time the arms; the first is the subject.

    An arm that fails to start is skipped and reported.
    """
    subject, *others = names
    seconds: dict[str, list[float]] = defaultdict(list)
    problems: dict[str, str] = {}
    with ExitStack() as stack:
        arms = {subject: _open_arm(subject, case, context, stack)}
        _timed_block(arms[subject], case, context)
        for name in list(others):
            try:
                arm = _open_arm(name, case, context, stack)
                _timed_block(arm, case, context)  # a first block makes what later ones find
            except RuntimeError as error:
                problems[name] = str(error).partition("\n")[0]
                others.remove(name)
            else:
                arms[name] = arm
        for number in range(case.rounds):
            for name in round_order(number, others, subject=subject):
                seconds[name].append(_timed_block(arms[name], case, context))
        for name, arm in arms.items():
            warning = arm.run.fallback_warning() if isinstance(arm, _Ours) else None
            if warning is not None:
                problems[name] = warning.message
    return CaseTimings(case, seconds, subject, problems)


class _Ours:
    """Steps of a run."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __call__(self, count: int) -> None:
        """Run `count` steps."""
        for _ in range(count):
            self.run.advance()


def _open_arm(name: str, case: Case, context: BenchmarkContext, stack: ExitStack) -> Steps:
    if name in {OURS, EAGER, PLAIN}:
        spec = spec_of(case, bn="plain" if name == PLAIN else "split")
        return _Ours(stack.enter_context(our_run(case, context, graphs=name == OURS, spec=spec)))
    step = GpuPracticeStep(case, context.device)
    if name == STEP:
        views = random_views(context.device, case)

        def steps_on_given_views(count: int) -> None:
            for _ in range(count):
                step(views)

        return steps_on_given_views
    loader = practice_batches(
        case, Pack.open(context.pack(case)), context.device, workers=context.workers
    )

    def steps_with_loader(count: int) -> None:
        for _ in range(count):
            step(next(loader))

    return steps_with_loader


def _timed_block(steps: Steps, case: Case, context: BenchmarkContext) -> float:
    """Return the seconds of the timed steps; untimed steps first use up prefetched batches."""
    if case.untimed:
        steps(case.untimed)
    synchronize(context.device)
    began_s = time.perf_counter()
    steps(case.timed)
    synchronize(context.device)
    return time.perf_counter() - began_s
