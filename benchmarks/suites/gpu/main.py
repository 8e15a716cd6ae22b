"""All GPU benchmarks in one call: quality, speed, gain of CUDA graphs, waits.

    python -m benchmarks gpu --pack cifar10-train.zip --test-pack cifar10-test.zip [--out gpu.json]

`--pack` and `--test-pack` take packs or archives; archives are ingested first. Without them the
recipe runs on scikit-learn's digits, which says nothing about CIFAR-10. Speeds are always measured
on noise. The order is: ceilings of the device, interleaved rounds, then the recipe in the time that
is left. A part that fails is reported, and the others still run. `--smoke` runs everything with
tiny sizes, also on a CPU. With MOCO_FUSED_KERNELS=1 our runs use the fused kernels. Not run on a
GPU yet.

A machine without a network needs `benchmarks/`, `trainer/` and, beside torch and torchvision with
what they depend on, the wheels of pydantic, pydantic-core, annotated-types, typing-inspection,
safetensors, and scikit-learn with scipy, joblib and threadpoolctl; numba for a CPU alone.

The targets follow from bytes, counted by the operands of every operation (tests/support/pretend_gpu
and decision 0038); a step of many kernels is expected to move seven tenths of what a copy moves.

    MB a row                          torch's kernels   fused kernels     practice, views given
    ResNet-50 at 224 px, network                  699               470       567
      and both views                              146                 4        -
    together                                      845               474       567
    share of the roofline at 419 MB     .7 x .50 = .35    .7 x .88 = .62
    against practice                              .67               1.2
    views, share of the bytes                     .17               .01
    ResNet-18 at 32 px, B 512                      41

So the share of the roofline is at least .35, the views (with 0.6 GFLOP of fp32 products a row)
take at most a quarter of a step, and split batch norm costs more than practice saves: .6 of its
speed; fused .5, .03 and 1.1. On an H200 (4.3 TB/s) ResNet-18 moves 104,000 rows/s at the most, and
2,000 kernels of a graph leave gaps of 1 us each: 50,000. Pillow makes 1,300 pairs of 32 px a second
and core (RESULTS.md), 21,000 on 16 cores: twice the speed of practice with its loader. A captured
step of 128 rows takes 4 ms, launched one by one 2,000 times 5 us: 2.5 times as fast.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import trainer.accel.openmp  # noqa: F401  # first, before torch is loaded, as the trainer's own main

import torch  # isort: skip

from benchmarks.data.image_sets import prepare_images
from benchmarks.data.noise_pack import write_noise_pack
from benchmarks.harness.report import command_line, cores, hardware, print_lines, versions
from benchmarks.suites.gpu import recipe
from benchmarks.suites.gpu.arm_timings import (
    EAGER,
    LOOP,
    OURS,
    PLAIN,
    STEP,
    BenchmarkContext,
    CaseTimings,
    time_arms,
)
from benchmarks.suites.gpu.cases import RESNET18, RESNET50, SMALL_BATCH, TINY, Case
from benchmarks.suites.gpu.ceilings import Ceilings, measure_ceilings
from benchmarks.suites.gpu.step_profile import PROFILED_STEPS, profile_step, waits_per_step
from trainer.accel.device import DeviceConfig, asks_for_fused_kernels
from trainer.data.ingest import ingest
from trainer.data.pack.format import META
from trainer.data.spec import IngestSpec
from trainer.engine.build import RunPaths
from trainer.modalities.image.ingest import INGEST

SECONDS = 440.0
"""Time limit of the whole call, which keeps it under eight minutes."""
SMOKE_RECIPE: dict[str, Any] = {
    "batch_rows": 16,
    "encoder": {"name": "small"},
    "method": {"queue_rows": 64},
    "views": {"side_px": 16},
}
SMOKE_ROWS = 80
TARGETS = {(RESNET18.name, LOOP): 2.0, (SMALL_BATCH.name, EAGER): 2.5}
"""Minimum speedup per case."""
TARGET_ROWS_PER_S, TARGET_KNN = 50_000, 81.5


class LargeTargets(NamedTuple):
    """Targets of the large network, which its bytes bound."""

    roofline_share: float
    views_share: float
    practice_ratio: float
    """Minimum speed relative to practice with views given."""


LARGE_TARGETS = {False: LargeTargets(0.35, 0.25, 0.6), True: LargeTargets(0.5, 0.03, 1.1)}
"""Without and with fused kernels."""


def large_targets() -> LargeTargets:
    """Return the targets of the kernels that our runs use."""
    return LARGE_TARGETS[asks_for_fused_kernels(os.environ)]


Value = TypeVar("Value")


@dataclass(slots=True)
class Report:
    """Figures and table rows, collected part by part."""

    figures: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    """(measurement, result, target) of each line."""

    def add(self, name: str, result: str, target: str = "") -> None:
        """A line of the table."""
        self.rows.append((name, result, target))

    def run_part(self, name: str, work: Callable[[], Value]) -> Value | None:
        """The result of a part; None with a line of the table if it fails."""
        began_s = time.monotonic()
        try:
            return work()
        except Exception as error:  # one part that fails must not lose the others
            first = str(error).partition("\n")[0]
            self.add(name, f"failed: {type(error).__name__}: {first}"[:200])
            return None
        finally:
            print_lines(f"{name}: {time.monotonic() - began_s:.1f} s")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def table(self) -> list[str]:
        """Markdown."""
        return ["| measurement | result | target |", "|---|---|---|"] + [
            f"| {name} | {result} | {target} |" for name, result, target in self.rows
        ]


def main() -> None:
    """Measure everything and print the table."""
    began_s = time.monotonic()
    args = parse_args()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="moco-") as folder:
        context = BenchmarkContext(torch.device(args.device), Path(folder), workers=args.workers)
        limits = report.run_part("ceilings", lambda: _report_ceilings(context, report, args))
        medium, small_batch, large = TINY if args.smoke else (RESNET18, SMALL_BATCH, RESNET50)
        for case in (medium, small_batch, large):
            if not context.pack(case).exists():
                write_noise_pack(context.pack(case), case.rows, side_px=case.row_px, same_size=True)
        for case, arms in (
            (medium, (OURS, STEP, LOOP)),
            (small_batch, (OURS, EAGER)),
            (large, (EAGER, PLAIN, STEP)),
        ):
            result = report.run_part(case.name, lambda c=case, a=arms: time_arms(c, context, a))  # type: ignore[misc]  # mypy sees no defaults of a lambda
            if result is not None:
                _report_speed(result, limits, report)
        report.run_part("views", lambda: _report_profile(large, context, report))
        report.run_part("waits", lambda: _report_waits(small_batch, context, report))
        if args.epochs:
            until_s = began_s + args.seconds
            report.run_part("recipe", lambda: _report_recipe(context, report, args, until_s))
    _publish(report, args)


def _report_ceilings(
    context: BenchmarkContext, report: Report, args: argparse.Namespace
) -> Ceilings:
    side, copied_bytes = (256, 1 << 20) if args.smoke else (8192, 1 << 32)
    measured = measure_ceilings(context.device, side=side, copied_bytes=copied_bytes)
    report.figures["ceilings"] = asdict(measured)
    report.add("bf16 product", f"{measured.product_flop_per_s / 1e12:.1f} TFLOP/s")
    report.add("copy", f"{measured.copy_bytes_per_s / 1e12:.3f} TB/s")
    return measured


def _report_speed(result: CaseTimings, limits: Ceilings | None, report: Report) -> None:
    case, ratios, large = result.case, result.ratios(), large_targets()
    report.figures[case.name] = {
        "rows_per_s": {name: result.rate(name) for name in result.seconds},
        "ratios": {name: asdict(ratio) for name, ratio in ratios.items()},
        "problems": dict(result.problems),
    }
    roofline = limits.roofline_rows_per_s(case.encoder, case.side_px) if limits else None
    target_rate = f">= {TARGET_ROWS_PER_S}" if case is RESNET18 else ""
    for name in result.seconds:
        rate = result.rate(name)
        is_subject = name == result.subject
        of_roofline = f", {rate / roofline:.2f} of the roofline" if roofline else ""
        share = f">= {large.roofline_share} of the roofline" if case is RESNET50 else target_rate
        report.add(
            f"{case.name}: {name}", f"{rate:.0f} rows/s{of_roofline}", share if is_subject else ""
        )
    for name, ratio in ratios.items():
        against = "itself (A/A)" if name == result.subject else name
        is_large = (case, name) == (RESNET50, STEP)
        target = large.practice_ratio if is_large else TARGETS.get((case.name, name))
        report.add(
            f"{case.name}: {result.subject} against {against}",
            f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
            f">= {target:g}" if target else "",
        )
    for name, problem in result.problems.items():
        report.add(f"{case.name}: {name}", f"problem: {problem}"[:200])


def _report_profile(case: Case, context: BenchmarkContext, report: Report) -> None:
    profile = profile_step(case, context, steps=1 if case in TINY else PROFILED_STEPS)
    report.figures["shares"] = asdict(profile)
    views = profile.shares.get("views", 0.0)
    target = large_targets().views_share
    report.add(f"{case.name}: views", f"{views:.1%} of the step", f"<= {target:.0%}")
    print_lines(profile.sentence)


def _report_waits(case: Case, context: BenchmarkContext, report: Report) -> None:
    for graphs, variant in ((True, "with graphs"), (False, "without")):
        waits = waits_per_step(case, context, graphs=graphs)
        report.figures[f"waits_per_step {variant}"] = waits
        count = "not counted: no GPU" if waits is None else f"{waits:g}"
        report.add(f"host waits per step, {variant}", count, "0")


def _report_recipe(
    context: BenchmarkContext, report: Report, args: argparse.Namespace, until_s: float
) -> None:
    pack, test_pack = (_ingested_pack(path, context) for path in (args.pack, args.test_pack))
    if pack is None:
        rows = SMOKE_ROWS if args.smoke else None
        pack, test_pack = prepare_images(None, context.folder / "digits", rows=rows).pack, None
        report.add("recipe", "on digits, since no --pack was given")
    changes = SMOKE_RECIPE if args.smoke else {}
    spec = recipe.recipe_spec(args.epochs, symmetric=args.symmetric, changes=changes)
    result = recipe.run_recipe(
        spec,
        RunPaths(context.folder / "recipe", pack, test_pack),
        DeviceConfig(
            device=str(context.device),
            graphs=not args.no_graphs,
            fused_kernels=asks_for_fused_kernels(os.environ),
        ),
        until_s=until_s,
    )
    report.figures["recipe"] = asdict(result)
    print_lines("", *result.lines(), "")
    if result.problem:
        report.add("recipe", f"problem: {result.problem}"[:200])
    if not result.epochs:
        report.add("recipe", "no time was left for an epoch")
        return
    last = result.epochs[-1]
    report.add("recipe: epochs done", f"{last.number} of {result.epochs_planned}")
    report.add("recipe: loss of the last epoch", f"{last.loss:.3f}")
    if last.knn_percent is not None:
        target = recipe.SYMMETRIC_KNN if result.symmetric else TARGET_KNN
        report.add("recipe: kNN", f"{last.knn_percent:.2f} %", f">= {target} after 200 epochs")
    rate = result.rows * last.number / last.trained_s
    report.add("recipe: training", f"{last.trained_s:.1f} s, {rate:.0f} rows/s")


def _ingested_pack(source: Path | None, context: BenchmarkContext) -> Path | None:
    """Return the given pack, or ingest the given archive."""
    if source is None or (source / META).exists():
        return source
    out = context.folder / source.stem
    spec = IngestSpec(dataset_id=source.stem, source=str(source))
    ingest(spec, modality=INGEST, out=out, emit=lambda _: None, should_stop=lambda: False)
    return out / "pack"


def _publish(report: Report, args: argparse.Namespace) -> None:
    origin = {
        "command": command_line(sys.orig_argv),
        "device": _device_name(args.device),
        "hardware": hardware(),
        "versions": versions(),
    }
    if args.out is not None:
        figures = origin | report.figures | {"table": report.rows}
        args.out.write_text(json.dumps(figures, indent=1) + "\n")
    print_lines("", *(f"{name}: {value}" for name, value in origin.items()), "", *report.table())


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--pack", type=Path, help="CIFAR-10's training images, a pack or an archive"
    )
    parser.add_argument("--test-pack", type=Path, help="the same of its test images")
    parser.add_argument("--out", type=Path, help="file of figures")
    parser.add_argument("--epochs", type=int, default=200, help="of the recipe; 0 leaves it out")
    parser.add_argument("--symmetric", action="store_true", help="both halves of the loss")
    parser.add_argument("--no-graphs", action="store_true", help="the recipe step by step")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the whole call")
    parser.add_argument("--workers", type=int, default=cores(), help="of a DataLoader")
    parser.add_argument("--smoke", action="store_true", help="everything, tiny")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    if not args.smoke and not args.device.startswith("cuda"):
        parser.error("this machine has no GPU; --smoke runs anywhere")
    if args.smoke:
        args.epochs, args.workers = min(args.epochs, 2), 0
    return args
