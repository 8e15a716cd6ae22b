"""Interleaved times of the fused form and the form in torch, each captured as a CUDA graph."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness.interleaving import Ratios, noise_ratios, relative_speeds, round_order
from benchmarks.suites.gpu.ceilings import synchronize
from benchmarks.suites.kernels import cases
from benchmarks.suites.kernels.cases import NormCase, ViewCase
from trainer.accel.cuda.kernels import fused_batch_norm
from trainer.accel.graphs import WARM_UP_CALLS, recorder_for
from trainer.accel.ops import Accelerator

Event: Any = torch.cuda.Event  # torch has no types for it
FUSED, TORCH = "fused", "torch"
CALLS = 20
"""Calls that one time is of."""
Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Timing:
    """One batch by both forms."""

    name: str
    ratio: Ratios
    """Speed of the fused form relative to torch's."""
    noise: Ratios
    fused_s: float
    """Median seconds of a call."""
    moved_bytes_per_s: float
    """Rate of the bytes that the fused form must move, and no more."""


def time_forms(device: torch.device, *, rounds: int) -> list[Timing]:
    """Time all cases."""
    timings = [
        _timed(name, works, moved_bytes, device, rounds)
        for name, works, moved_bytes in _works(device)
    ]
    torch.cuda.empty_cache()
    return timings


def _works(device: torch.device) -> Iterator[tuple[str, dict[str, Work], float]]:
    for case in cases.NORMS:
        yield f"batch norm, {case.name}", _norm_works(case, device), case.moved_bytes()
    moved_bytes = cases.VIEWS.moved_bytes(element_bytes=2, blur_p=0.5)
    yield "views", _view_works(cases.VIEWS, device), moved_bytes


def _norm_works(case: NormCase, device: torch.device) -> dict[str, Work]:
    inputs = cases.norm_inputs(case, device)
    return {
        FUSED: lambda: inputs.result(fused_batch_norm.grouped_batch_norm),
        TORCH: lambda: inputs.result(cases.torch_norm),
    }


def _view_works(case: ViewCase, device: torch.device) -> dict[str, Work]:
    images, rows = cases.images(case, device), torch.arange(case.rows, device=device)
    fused = cases.augmenter(case, device, Accelerator(view_dtype=torch.bfloat16))
    usual = cases.augmenter(case, device, None)

    def by_torch() -> Tensor:
        made = usual.views(images, rows, seed=1, epoch=2, view=0)
        return made.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)

    return {FUSED: lambda: fused.views(images, rows, seed=1, epoch=2, view=0), TORCH: by_torch}


def _timed(
    name: str, works: dict[str, Work], moved_bytes: float, device: torch.device, rounds: int
) -> Timing:
    replays = {form: _captured(work, device) for form, work in works.items()}
    fused_s: list[tuple[float, float]] = []
    torch_s: list[float] = []
    for number in range(rounds):
        order = round_order(number, [TORCH], subject=FUSED)
        first, other, last = (_seconds(replays[form], device) for form in order)
        fused_s.append((first, last))
        torch_s.append(other)
    flat = sorted(each for pair in fused_s for each in pair)
    median_s = flat[len(flat) // 2]
    ratio, noise = relative_speeds(fused_s, torch_s), noise_ratios(fused_s)
    return Timing(name, ratio, noise, median_s, moved_bytes / median_s)


def _captured(work: Work, device: torch.device) -> Work:
    """Return the replay of a graph of one call: what is compared then is the device's time."""
    recorder = recorder_for(device)
    with recorder.aside():
        for _ in range(WARM_UP_CALLS):
            work()
    kept, replay = recorder.recorded(work)

    def call() -> object:
        replay()
        return kept

    return call


def _seconds(work: Work, device: torch.device) -> float:
    """Return the device's seconds of a call."""
    work()
    synchronize(device)
    began, ended = (Event(enable_timing=True) for _ in range(2))
    began.record()
    for _ in range(CALLS):
        work()
    ended.record()
    synchronize(device)
    return float(began.elapsed_time(ended)) / 1000.0 / CALLS
