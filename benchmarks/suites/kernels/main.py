"""Fused GPU kernels: proof that they are right, repeat themselves and are faster than torch.

    python -m benchmarks kernels [--out DIR] [--rounds 15]

Batch norm forward and backward against torch in float64, with the error of torch's own form as the
yardstick; views against the form in torch; all of it twice for the same bits; then interleaved
times as CUDA graphs, with the fused form against itself (A/A). Ends with the setting that turns
the kernels on, or with why they stay off. On a CPU the same checks run tiny and interpreted, and
nothing is timed. Exit code 1 if a check fails.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from benchmarks.harness.report import Section, add_report_options, print_lines, publish
from benchmarks.suites.kernels import cases
from benchmarks.suites.kernels.cases import NormCase, ViewCase
from benchmarks.suites.kernels.timings import Timing, time_forms
from trainer.accel.cuda.kernels import fused_batch_norm
from trainer.accel.device import FUSED_KERNELS, DeviceConfig, deterministic_device
from trainer.accel.ops import Accelerator

FACTOR = 2.0
"""Greatest error, in errors of the form in torch."""
LEVELS = 0.05
"""Greatest difference of two views, in levels of 255."""
FASTER = 1.0
"""Least speed relative to the form in torch: the lower end of the interval."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table."""

    name: str
    result: str
    passed: bool


def main() -> None:
    """Check, time, publish, and say what to set."""
    args = _parse_args()
    torch.manual_seed(0)
    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, with the first kernel
        with cases.interpreted_views():
            checks = _checks(torch.device("cpu"), cases.TINY_NORMS, cases.TINY_VIEWS)
        print_lines(*_table(checks), "", "Interpreted: run this on a GPU to turn the kernels on.")
        sys.exit(_code(checks))
    config = DeviceConfig(device="cuda", fused_kernels=True)
    with deterministic_device(config, precision="auto") as context:
        if context.fused_problem:
            raise SystemExit(f"The fused kernels cannot run here: {context.fused_problem}.")
        checks = _checks(context.device, cases.NORMS, cases.VIEWS)
        timings = time_forms(context.device, rounds=args.rounds)
    checks += [_speed(timing) for timing in timings]
    figures = {"checks": list(map(asdict, checks)), "timings": list(map(asdict, timings))}
    lines = [*_table(checks), "", _advice(checks)]
    publish(Section("kernels", "Fused GPU kernels against torch", lines, figures), args)
    sys.exit(_code(checks))


def _checks(device: torch.device, norms: tuple[NormCase, ...], view_case: ViewCase) -> list[Check]:
    checks = [check for case in norms for check in _norm_checks(case, device)]
    return checks + list(_view_checks(view_case, device))


def _norm_checks(case: NormCase, device: torch.device) -> Iterator[Check]:
    inputs = cases.norm_inputs(case, device)
    ours, again = (inputs.result(fused_batch_norm.grouped_batch_norm) for _ in range(2))
    usual = inputs.result(cases.torch_norm)
    exact = inputs.to(torch.float64).result(cases.torch_norm)
    floor = torch.finfo(torch.float32).eps
    if device.type == "cpu" and case.dtype == torch.bfloat16:
        floor = torch.finfo(case.dtype).eps  # the interpreter cuts off where a GPU rounds
    worst = max(
        _error(our, right) / (_error(their, right) + floor)
        for our, their, right in zip(ours, usual, exact, strict=True)
    )
    name = f"batch norm, {case.name}"
    yield Check(name, f"{worst:.2f} of torch's error", worst <= FACTOR)
    yield _same_twice(name, ours, again)


def _error(result: Tensor, right: Tensor) -> float:
    """Return the root of the mean squared error, relative to that of the values."""
    apart = (result.double() - right).square().mean().sqrt()
    return float(apart / right.square().mean().sqrt().clamp(min=1e-12))


def _same_twice(name: str, first: list[Tensor], second: list[Tensor]) -> Check:
    same = all(torch.equal(*both) for both in zip(first, second, strict=True))
    return Check(f"{name}, twice", "same bits" if same else "other bits", same)


def _view_checks(case: ViewCase, device: torch.device) -> Iterator[Check]:
    images, rows = cases.images(case, device), torch.arange(case.rows, device=device)
    fused, usual = (cases.augmenter(case, device, each) for each in (Accelerator(), None))
    ours, again, theirs = (
        form.views(images, rows, seed=1, epoch=2, view=0) for form in (fused, fused, usual)
    )
    std = torch.tensor(cases.STD, device=device)[:, None, None]
    apart = float(((ours - theirs) * std * 255.0).abs().max())
    yield Check("views", f"{apart:.4f} levels from torch's", apart <= LEVELS)
    yield _same_twice("views", [ours], [again])


def _speed(timing: Timing) -> Check:
    ratio, noise = timing.ratio, timing.noise
    result = (
        f"{ratio.median:.2f} of torch's speed ({ratio.low:.2f} to {ratio.high:.2f}; "
        f"A/A {noise.low:.2f} to {noise.high:.2f}), {timing.moved_bytes_per_s / 1e12:.2f} TB/s"
    )
    return Check(f"speed: {timing.name}", result, ratio.low >= FASTER)


def _advice(checks: list[Check]) -> str:
    failed = [check.name for check in checks if not check.passed]
    if failed:
        return f"Leave {FUSED_KERNELS} unset: {', '.join(failed)} failed."
    return f"All passed. Set {FUSED_KERNELS}=1 for workers and `python -m trainer` on this GPU."


def _table(checks: list[Check]) -> list[str]:
    rows = [f"| {it.name} | {it.result} | {'yes' if it.passed else 'NO'} |" for it in checks]
    return ["| check | result | passed |", "|---|---|---|", *rows]


def _code(checks: list[Check]) -> int:
    return 0 if all(check.passed for check in checks) else 1


def _parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_report_options(parser)
    parser.add_argument("--rounds", type=int, default=15, help="of the interleaved times")
    return parser.parse_args()
