"""Work of a rank in tests: a training, or one step from each of several saved states."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trainer.__main__ import main as train_main
from trainer.checkpoint.state import collect, restore
from trainer.distributed.launched_world import joined
from trainer.distributed.process_group import ProcessGroup
from trainer.distributed.world import ALONE, World
from trainer.engine.build import RunPaths, build_run
from trainer.engine.exchange import Exchange
from trainer.engine.run import Run
from trainer.engine.train import DeviceConfig
from trainer.nn.views import Pixels, View
from trainer.spec.job import JobSpec

STEPS = 20


@dataclass(frozen=True)
class Steps:
    """One case: a job, its pack, and the folder of its states."""

    spec: dict[str, Any]
    pack: Path
    states: Path
    exact: bool
    """float64 in place of float32."""
    steps: int = STEPS
    """Number of states that are stepped from."""


def train(spec_file: Path, out: Path) -> int:
    """Train as `torchrun -m trainer` does."""
    torch.set_num_threads(1)
    return train_main([str(spec_file), "--out", str(out), "--device", "cpu", "--threads", "1"])


def save_states(case: Steps) -> None:
    """Write the states of one process before the first step and after each."""
    with _run_of(case, ALONE, out=case.states / "alone") as run:
        run.advance()  # the optimizer has its state after it
        for number in range(case.steps + 1):
            save_file(_copied(run), case.states / f"{number}.safetensors")
            run.advance()


def step_from_each(cases: list[Steps], out: Path) -> int:
    """Make one step from each state of each case; rank 0 writes what comes out, and the bytes."""
    torch.set_num_threads(1)
    with joined("cpu") as world:
        for number, case in enumerate(cases):
            with _run_of(case, world, out=out / f"run{number}") as run:
                _step_from_each(case, run, out / str(number))
    return 0


def _step_from_each(case: Steps, run: Run, out: Path) -> None:
    assert isinstance(run.world, ProcessGroup)
    traffic: list[dict[str, int]] = []
    for number in range(case.steps):
        restore(load_file(case.states / f"{number}.safetensors"), run.method, run.optimizer)
        run.progress.step = number + 1
        before = run.world.traffic.copy()
        run.advance()
        traffic.append(dict(run.world.traffic - before))
        if run.world.is_first:
            out.mkdir(parents=True, exist_ok=True)
            save_file(_copied(run), out / f"{number}.safetensors")
    if run.world.is_first:
        (out / "traffic.json").write_text(json.dumps(traffic))


def rectified_from_each(case: Steps, out: Path) -> int:
    """Make one step from each state; each rank writes what comes out of each ReLU."""
    torch.set_num_threads(1)
    with joined("cpu") as world, _run_of(case, world, out=out / "run") as run:
        write_rectified(case, run, out / f"rank{world.rank}")
    return 0


def rectified_alone(case: Steps, out: Path) -> None:
    """Do the same on one process."""
    with _run_of(case, ALONE, out=out / "run") as run:
        write_rectified(case, run, out)


def write_rectified(case: Steps, run: Run, out: Path) -> None:
    """Write one file for each state: names of ReLUs -> values [N, ...]."""
    out.mkdir(parents=True, exist_ok=True)
    values: dict[str, Tensor] = {}
    for name, module in run.method.named_modules():
        if getattr(module, "relu", False) or type(module) is nn.ReLU:
            module.register_forward_hook(partial(_keep, values, name))
    for number in range(STEPS):
        restore(load_file(case.states / f"{number}.safetensors"), run.method, run.optimizer)
        run.progress.step = number + 1
        run.advance()
        save_file(values, out / f"{number}.safetensors")


def _keep(values: dict[str, Tensor], name: str, *call: Any) -> None:  # noqa: ANN401  # torch's hook
    values[name] = call[-1].detach().clone(memory_format=torch.contiguous_format)


@contextmanager
def _run_of(case: Steps, world: World, *, out: Path) -> Iterator[Run]:
    resources = {"resources": {"gpus": world.size}}
    spec = JobSpec.model_validate_json(json.dumps(case.spec | resources))
    device_config = DeviceConfig(device="cpu", threads=1, loader_threads=0)
    paths = RunPaths(out=out, pack=case.pack)
    with build_run(spec, paths, device_config=device_config, world=world) as run:
        dtype = torch.float64 if case.exact else torch.float32
        run.method.to(dtype)
        run.exchange = Exchange(run.method, run.exchange.requests)  # of the buffers in float64
        run.batches.make_views = _PlainViews(dtype, run.spec.views.count)
        yield run


@dataclass(frozen=True)
class _PlainViews:
    """Views whose last bits do not depend on the rows beside them, unlike real ones."""

    dtype: torch.dtype
    count: int
    fallback_reason: str | None = None

    def __call__(self, raw: Any, rows: Tensor, *, epoch: int) -> tuple[View, ...]:  # noqa: ANN401
        """Return the views of each row, which depend on its pixels, its number and the epoch."""
        pixels = raw.pixels.to(self.dtype) / 128 - 1
        first, second = pixels[: len(rows)], pixels[-len(rows) :]  # the latter of partners, if any
        waves = torch.sin(37.0 * first + rows[:, None, None, None] + epoch)
        further = (Pixels(second - waves / view) for view in range(3, self.count + 1))
        return Pixels(first + waves / 4), Pixels(second.flip(3) - waves / 2), *further


def _copied(run: Run) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in collect(run.method, run.optimizer).items()}
