"""All GPU benchmarks in one call: quality, speed, gain of CUDA graphs, waits.

    python -m benchmarks gpu --pack cifar10-train.zip --test-pack cifar10-test.zip [--out gpu.json]

An archive is made a pack of first; a pack can be given too. Without them the recipe runs on
scikit-learn's digits, which says nothing of CIFAR-10; speeds are measured on noise in any case.
First the ceilings of the device, then the rounds, and in the time that is left the recipe. A part
that fails is told of, and the rest goes on. `--smoke` does all of it with next to nothing, on a CPU
too. Needs `trainer/` and what that loads, but for numba. Not run on a GPU yet.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import trainer.accel.openmp  # noqa: F401  # first, before torch is loaded, as the trainer's own main

import torch  # isort: skip

from benchmarks.data.image_sets import prepared
from benchmarks.data.noise_pack import write_big_pack
from benchmarks.harness.report import command, cores, hardware, tell, versions
from benchmarks.suites.gpu import recipe
from benchmarks.suites.gpu.cases import RESNET18, RESNET50, SMALL_BATCH, TINY, Case
from benchmarks.suites.gpu.ceilings import Ceilings, ceilings
from benchmarks.suites.gpu.contest import EAGER, LOOP, OURS, PLAIN, STEP, Ground, Result, contest
from benchmarks.suites.gpu.step_profile import PROFILED_STEPS, shares, waits_per_step
from trainer.accel.device import DeviceConfig
from trainer.data.ingest import ingest
from trainer.data.pack.format import META
from trainer.data.spec import IngestSpec
from trainer.engine.build import RunPaths

SECONDS = 440.0
"""Limit of the whole call, so that it ends within eight minutes."""
SMOKE_RECIPE: dict[str, Any] = {
    "batch_rows": 16,
    "encoder": {"name": "small"},
    "method": {"queue_rows": 64},
    "views": {"side_px": 16},
}
SMOKE_ROWS = 80
WANTED = {
    (RESNET18.name, LOOP): 4.0,
    (RESNET50.name, STEP): 1.5,
    (SMALL_BATCH.name, EAGER): 2.5,
}
"""Minimum speedup per case."""
WANTED_ROWS_PER_S, WANTED_KNN, WANTED_OF_FLOOR, WANTED_VIEWS = 60_000, 81.5, 0.45, 0.03

Found = TypeVar("Found")


@dataclass(slots=True)
class Report:
    """Results, collected piece by piece."""

    figures: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    """(measurement, result, target) of each line."""

    def add(self, what: str, found: str, wanted: str = "") -> None:
        """A line of the table."""
        self.rows.append((what, found, wanted))

    def tried(self, what: str, work: Callable[[], Found]) -> Found | None:
        """The result of a part; None with a line of the table if it fails."""
        began_s = time.monotonic()
        try:
            return work()
        except Exception as error:  # one part that fails must not lose the others
            first = str(error).partition("\n")[0]
            self.add(what, f"failed: {type(error).__name__}: {first}"[:200])
            return None
        finally:
            tell(f"{what}: {time.monotonic() - began_s:.1f} s")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def table(self) -> list[str]:
        """Markdown."""
        return ["| what | found | wanted |", "|---|---|---|"] + [
            f"| {what} | {found} | {wanted} |" for what, found, wanted in self.rows
        ]


def main() -> None:
    """Measure, then tell."""
    began_s = time.monotonic()
    args = parsed()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="moco-") as folder:
        ground = Ground(torch.device(args.device), Path(folder), workers=args.workers)
        most = report.tried("ceilings", lambda: _ceilings(ground, report, args))
        middle, few, large = TINY if args.smoke else (RESNET18, SMALL_BATCH, RESNET50)
        for case in (middle, few, large):
            if not ground.pack(case).exists():
                write_big_pack(ground.pack(case), case.rows, side_px=case.row_px, same_size=True)
        for case, arms in (
            (middle, (OURS, STEP, LOOP)),
            (few, (OURS, EAGER)),
            (large, (EAGER, PLAIN, STEP)),
        ):
            result = report.tried(case.name, lambda c=case, a=arms: contest(c, ground, a))  # type: ignore[misc]  # mypy sees no defaults of a lambda
            if result is not None:
                _tell_speed(result, most, report)
        report.tried("views", lambda: _tell_shares(large, ground, report))
        report.tried("waits", lambda: _tell_waits(few, ground, report))
        if args.epochs:
            until_s = began_s + args.seconds
            report.tried("recipe", lambda: _tell_recipe(ground, report, args, until_s))
    _publish(report, args)


def _ceilings(ground: Ground, report: Report, args: argparse.Namespace) -> Ceilings:
    side, copied_bytes = (256, 1 << 20) if args.smoke else (8192, 1 << 32)
    found = ceilings(ground.device, side=side, copied_bytes=copied_bytes)
    report.figures["ceilings"] = asdict(found)
    report.add("bf16 product", f"{found.product_flop_per_s / 1e12:.1f} TFLOP/s")
    report.add("copy", f"{found.copy_bytes_per_s / 1e12:.3f} TB/s")
    return found


def _tell_speed(result: Result, most: Ceilings | None, report: Report) -> None:
    case, ratios = result.case, result.ratios()
    report.figures[case.name] = {
        "rows_per_s": {name: result.rate(name) for name in result.seconds},
        "ratios": {name: asdict(one) for name, one in ratios.items()},
        "troubles": dict(result.troubles),
    }
    floor = most.floor_rows_per_s(case.encoder, case.side_px) if most else None
    wanted_rate = f">= {WANTED_ROWS_PER_S}" if case is RESNET18 else ""
    for name in result.seconds:
        rate = result.rate(name)
        is_subject = name == result.subject
        of_floor = f", {rate / floor:.2f} of the floor" if floor else ""
        share = f">= {WANTED_OF_FLOOR} of the floor" if case is RESNET50 else wanted_rate
        what = f"{case.name}: {name}"
        report.add(what, f"{rate:.0f} rows/s{of_floor}", share if is_subject else "")
    for name, one in ratios.items():
        against = "itself (A/A)" if name == result.subject else name
        bar = WANTED.get((case.name, name))
        report.add(
            f"{case.name}: {result.subject} against {against}",
            f"{one.median:.2f} ({one.low:.2f} to {one.high:.2f})",
            f">= {bar:g}" if bar else "",
        )
    for name, trouble in result.troubles.items():
        report.add(f"{case.name}: {name}", f"trouble: {trouble}"[:200])


def _tell_shares(case: Case, ground: Ground, report: Report) -> None:
    found = shares(case, ground, steps=1 if case in TINY else PROFILED_STEPS)
    report.figures["shares"] = asdict(found)
    views = found.shares.get("views", 0.0)
    report.add(f"{case.name}: views", f"{views:.1%} of the step", f"<= {WANTED_VIEWS:.0%}")
    tell(found.sentence)


def _tell_waits(case: Case, ground: Ground, report: Report) -> None:
    for graphs, what in ((True, "with graphs"), (False, "without")):
        waits = waits_per_step(case, ground, graphs=graphs)
        report.figures[f"waits_per_step {what}"] = waits
        found = "not counted: no GPU" if waits is None else f"{waits:g}"
        report.add(f"host waits per step, {what}", found, "0")


def _tell_recipe(ground: Ground, report: Report, args: argparse.Namespace, until_s: float) -> None:
    pack, test_pack = (_pack_of(path, ground) for path in (args.pack, args.test_pack))
    if pack is None:
        rows = SMOKE_ROWS if args.smoke else None
        pack, test_pack = prepared(None, ground.folder / "digits", rows=rows).pack, None
        report.add("recipe", "on digits, since no --pack was given")
    changed = SMOKE_RECIPE if args.smoke else {}
    spec = recipe.recipe(args.epochs, symmetric=args.symmetric, changed=changed)
    told = recipe.followed(
        spec,
        RunPaths(ground.folder / "recipe", pack, test_pack),
        DeviceConfig(device=str(ground.device), graphs=not args.no_graphs),
        until_s=until_s,
    )
    report.figures["recipe"] = asdict(told)
    tell("", *told.lines(), "")
    if told.trouble:
        report.add("recipe", f"trouble: {told.trouble}"[:200])
    if not told.epochs:
        report.add("recipe", "no time was left for an epoch")
        return
    last = told.epochs[-1]
    report.add("recipe: epochs done", f"{last.number} of {told.epochs_planned}")
    report.add("recipe: loss of the last epoch", f"{last.loss:.3f}")
    if last.knn_percent is not None:
        wanted = recipe.SYMMETRIC_KNN if told.symmetric else WANTED_KNN
        report.add("recipe: kNN", f"{last.knn_percent:.2f} %", f">= {wanted} after 200 epochs")
    rate = told.rows * last.number / last.trained_s
    report.add("recipe: training", f"{last.trained_s:.1f} s, {rate:.0f} rows/s")


def _pack_of(source: Path | None, ground: Ground) -> Path | None:
    """The pack that was given, or one of the archive that was given."""
    if source is None or (source / META).exists():
        return source
    out = ground.folder / source.stem
    spec = IngestSpec(dataset_id=source.stem, source=str(source))
    ingest(spec, out=out, emit=lambda _: None, should_stop=lambda: False)
    return out / "pack"


def _publish(report: Report, args: argparse.Namespace) -> None:

    origin = {
        "command": command(sys.orig_argv),
        "device": _device_name(args.device),
        "hardware": hardware(),
        "versions": versions(),
    }
    if args.out is not None:
        figures = origin | report.figures | {"table": report.rows}
        args.out.write_text(json.dumps(figures, indent=1) + "\n")
    tell("", *(f"{name}: {value}" for name, value in origin.items()), "", *report.table())


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def parsed() -> argparse.Namespace:
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
