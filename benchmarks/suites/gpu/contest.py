"""Arms in one process on one device, in interleaved rounds.

Ours are runs of the trainer, views included. On one device two captured steps of a large network
would not leave each other room: each graph keeps the memory of its activations.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from benchmarks.harness.interleaving import Ratios, faster, order_of, same
from benchmarks.suites.gpu.cases import Case, spec_of
from benchmarks.suites.gpu.ceilings import settle
from benchmarks.suites.gpu.practice_arms import QuickStep, batches, views_on
from trainer.accel.device import DeviceConfig
from trainer.data.pack.format import Pack
from trainer.engine.build import RunPaths, build_run
from trainer.engine.run import Run
from trainer.spec.job import JobSpec

OURS, EAGER, PLAIN = "ours", "ours, no graph", "ours, no graph, plain batch norm"
STEP, LOOP = "practice, views given", "practice, with its loader"

Steps = Callable[[int], None]
"""Function that launches a number of optimizer steps, without synchronizing."""


@dataclass(frozen=True, slots=True)
class Ground:
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
class Result:
    """Timed blocks, in the order in which they ran."""

    case: Case
    seconds: Mapping[str, Sequence[float]]
    subject: str
    troubles: Mapping[str, str]
    """Error or warning of each arm that failed or fell back."""

    def rate(self, name: str) -> float:
        """Rows a second, the median of the blocks."""
        return self.case.batch_rows * self.case.timed / median(self.seconds[name])

    def ratios(self) -> dict[str, Ratios]:
        """Return the subject's speed relative to each other arm; under its own name, A/A."""
        own = self.seconds[self.subject]
        pairs = list(zip(own[::2], own[1::2], strict=True))
        others = {name: some for name, some in self.seconds.items() if name != self.subject}
        found = {name: faster(pairs, some) for name, some in others.items()}
        return {self.subject: same(pairs), **found}


@contextmanager
def our_run(
    case: Case, ground: Ground, *, graphs: bool = True, spec: JobSpec | None = None
) -> Iterator[Run]:
    """A run of the case in a folder of its own."""
    machine = DeviceConfig(device=str(ground.device), graphs=graphs)
    with tempfile.TemporaryDirectory(dir=ground.folder) as out:
        paths = RunPaths(Path(out), ground.pack(case))
        with build_run(spec or spec_of(case), paths, machine=machine) as run:
            yield run


def contest(case: Case, ground: Ground, names: Sequence[str]) -> Result:
    """Time the arms; the first is the subject.

    An arm that fails to start is skipped and reported.
    """
    subject, *others = names
    seconds: dict[str, list[float]] = defaultdict(list)
    troubles: dict[str, str] = {}
    with ExitStack() as stack:
        arms = {subject: _arm(subject, case, ground, stack)}
        _block(arms[subject], case, ground)
        for name in list(others):
            try:
                arm = _arm(name, case, ground, stack)
                _block(arm, case, ground)  # a first block makes what later ones find
            except RuntimeError as error:
                troubles[name] = str(error).partition("\n")[0]
                others.remove(name)
            else:
                arms[name] = arm
        for number in range(case.rounds):
            for name in order_of(number, others, subject=subject):
                seconds[name].append(_block(arms[name], case, ground))
        for name, arm in arms.items():
            said = arm.run.fallback_warning() if isinstance(arm, _Ours) else None
            if said is not None:
                troubles[name] = said.message
    return Result(case, seconds, subject, troubles)


class _Ours:
    """Steps of a run."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __call__(self, count: int) -> None:
        """Run `count` steps."""
        for _ in range(count):
            self.run.advance()


def _arm(name: str, case: Case, ground: Ground, stack: ExitStack) -> Steps:
    if name in {OURS, EAGER, PLAIN}:
        spec = spec_of(case, bn="plain" if name == PLAIN else "split")
        return _Ours(stack.enter_context(our_run(case, ground, graphs=name == OURS, spec=spec)))
    step = QuickStep(case, ground.device)
    if name == STEP:
        given = views_on(ground.device, case)

        def with_given(count: int) -> None:
            for _ in range(count):
                step(given)

        return with_given
    made = batches(case, Pack.open(ground.pack(case)), ground.device, workers=ground.workers)

    def with_loader(count: int) -> None:
        for _ in range(count):
            step(next(made))

    return with_loader


def _block(steps: Steps, case: Case, ground: Ground) -> float:
    """Seconds of the timed steps. The untimed ones use up what a loader has ready."""
    if case.untimed:
        steps(case.untimed)
    settle(ground.device)
    began_s = time.perf_counter()
    steps(case.timed)
    settle(ground.device)
    return time.perf_counter() - began_s
