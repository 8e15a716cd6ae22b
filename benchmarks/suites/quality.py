"""Effect of speed on quality: kNN after a short training against a slow reference, by seeds.

    python -m benchmarks quality [--data cifar10-train.zip] [--test cifar10-test.zip] [--epochs 20]
    python -m benchmarks quality ... --arm ours --seed 0     one piece, kept for the whole

The same resolved recipe in both arms, for the small encoder: ours through the trainer, the other a
plain loop in fp32 with Pillow views. Both are judged by the project's evaluator. What was measured
is kept in `results/quality/` and not measured again without --remeasure; the table appears
once all pieces are there. Without --data: scikit-learn's digits, a tenth of which is classified.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import mean, variance
from typing import cast

from scipy import stats  # comes with scikit-learn

import trainer.accel.openmp  # noqa: F401  # first, before torch is loaded, as the trainer's own main
from benchmarks.arms.reference_trainer import train_reference
from benchmarks.data.image_sets import ImageSet, prepare_images
from benchmarks.harness.report import Section, add_report_options, cores, print_lines, publish
from trainer.accel.device import DeviceConfig, deterministic_device
from trainer.accel.malloc import keep_freed_memory
from trainer.data.pack.format import Pack
from trainer.engine.train import RunPaths, train
from trainer.evaluators.base import EvaluationData
from trainer.evaluators.runner import plan_evaluation
from trainer.methods.base import Method
from trainer.modalities.image.loader import PackLoader
from trainer.modalities.image.modality import MODALITY
from trainer.schema.events import Evaluated, Event
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec
from trainer.spec.resolved import ResolvedSpec

ARMS = ("ours", "reference")


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference of two means, with Welch's interval of 95 %."""

    mean: float
    low: float
    high: float


def main() -> None:
    """Measure the requested pieces that are missing, then compare."""
    args = parse_args()
    keep_freed_memory()  # as a process of a job does
    pieces_dir = args.out / "quality"
    pieces_dir.mkdir(parents=True, exist_ok=True)
    all_pieces = [(arm, seed) for seed in range(args.seeds) for arm in ARMS]
    selected = [
        (arm, seed)
        for arm, seed in all_pieces
        if args.arm in (None, arm) and args.seed in (None, seed)
    ]
    missing = [
        piece
        for piece in selected
        if args.remeasure or not path_of(pieces_dir, args, *piece).exists()
    ]
    if missing:
        with tempfile.TemporaryDirectory(prefix="moco-") as name:
            measure(missing, args, pieces_dir, Path(name))
    if all(path_of(pieces_dir, args, *piece).exists() for piece in all_pieces):
        pieces = {
            arm: [
                json.loads(path_of(pieces_dir, args, arm, seed).read_text())
                for seed in range(args.seeds)
            ]
            for arm in ARMS
        }
        publish(section(pieces, args), args)


def measure(
    selected: Sequence[tuple[str, int]], args: argparse.Namespace, pieces_dir: Path, folder: Path
) -> None:
    """Train and evaluate each piece."""
    images = prepare_images(args.data, folder / "train", rows=args.rows)
    test = prepare_images(args.test, folder / "test") if args.test else None
    for arm, seed in selected:
        began_s = time.monotonic()
        run_arm = run_ours if arm == "ours" else run_reference
        spec = spec_of(images, args, seed)
        top1 = run_arm(spec, images, test, args)
        piece = {
            "arm": arm,
            "seed": seed,
            "knn_top1": top1,
            "seconds": round(time.monotonic() - began_s, 1),
            "rows": images.rows,
            "spec": spec.model_dump(mode="json"),
        }
        path_of(pieces_dir, args, arm, seed).write_text(json.dumps(piece, indent=1) + "\n")
        print_lines(f"{arm}, seed {seed}: kNN {100 * top1:.2f} % after {piece['seconds']} s")


def run_ours(
    spec: ResolvedSpec, images: ImageSet, test: ImageSet | None, _args: argparse.Namespace
) -> float:
    """The trainer, as a job runs it."""
    top1s: list[float] = []

    def emit(event: Event) -> None:
        if isinstance(event, Evaluated) and "knn_top1" in event.signals:
            top1s.append(event.signals["knn_top1"])

    with tempfile.TemporaryDirectory(prefix="moco-") as out:
        paths = RunPaths(Path(out), images.pack, test.pack if test else None)
        train(
            spec,
            paths,
            device_config=DeviceConfig(device="cpu"),
            emit=emit,
            should_stop=lambda: False,
        )
    return top1s[-1]


def run_reference(
    spec: ResolvedSpec, images: ImageSet, test: ImageSet | None, args: argparse.Namespace
) -> float:
    """The plain loop, judged by the same evaluator on the same rows."""
    pack = Pack.open(images.pack)
    towers = train_reference(spec, pack, workers=args.workers)
    with deterministic_device(DeviceConfig(device="cpu"), precision="fp32") as context:
        views = MODALITY.views(spec, pack.facts, context)
        source = PackLoader(pack, device=context.device)
        test_source = PackLoader(Pack.open(test.pack), device=context.device) if test else None
        plan = plan_evaluation(spec, EvaluationData(source, test_source), views=views)
        assert plan.evaluators, "the images have labels"
        # The evaluator asks for nothing but features.
        results = plan.run(cast(Method, towers), should_stop=lambda: False)
        for each in (source, test_source):
            if each is not None:
                each.close()
    assert results is not None
    return results.signals["knn_top1"]


def spec_of(images: ImageSet, args: argparse.Namespace, seed: int) -> ResolvedSpec:
    """Return the resolved recipe: the default settings for the small encoder."""
    spec = JobSpec.model_validate(
        {
            "dataset": images.name,
            "encoder": {"name": "small"},
            "epochs": args.epochs,
            "seed": seed,
            # The authors' protocol, as in the results that are kept.
            "evaluation": {"every_epochs": args.epochs, "k": 200, "feature": "projection"},
        }
    )
    return resolve(spec, Pack.open(images.pack).facts).spec


def path_of(folder: Path, args: argparse.Namespace, arm: str, seed: int) -> Path:
    """Return the path where a piece is kept."""
    data = args.data.stem if args.data else "digits"
    rows = f"{args.rows}-rows" if args.rows else "all-rows"
    return folder / f"{data}-{rows}-{args.epochs}-epochs-{arm}-{seed}.json"


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Mean of `first` minus mean of `second`; needs two values of each that are not all equal.

    Welch 1947: variances need not be equal; degrees of freedom by Satterthwaite.
    """
    gap = mean(first) - mean(second)
    parts = [variance(each) / len(each) for each in (first, second)]
    degrees = sum(parts) ** 2 / sum(
        part**2 / (len(each) - 1) for part, each in zip(parts, (first, second), strict=True)
    )
    margin = float(stats.t.ppf(0.975, degrees)) * sqrt(sum(parts))
    return Difference(gap, gap - margin, gap + margin)


def section(pieces: dict[str, list[dict[str, float]]], args: argparse.Namespace) -> Section:
    """The table of both arms."""
    top1 = {arm: [100.0 * piece["knn_top1"] for piece in pieces[arm]] for arm in ARMS}
    seconds = {arm: mean(piece["seconds"] for piece in pieces[arm]) for arm in ARMS}
    lines = [
        f"| arm | {' | '.join(f'seed {seed}' for seed in range(args.seeds))} | mean | seconds |",
        "|---" * (args.seeds + 3) + "|",
        *(
            f"| {arm} | {' | '.join(f'{value:.2f}' for value in top1[arm])} "
            f"| {mean(top1[arm]):.2f} | {seconds[arm]:.0f} |"
            for arm in ARMS
        ),
        "",
    ]
    if args.seeds > 1 and any(variance(values) for values in top1.values()):
        gap = difference(top1["ours"], top1["reference"])
        inside = gap.low <= 0.0 <= gap.high
        lines += [
            f"Ours minus reference: {gap.mean:+.2f} points, Welch's 95 % interval "
            f"{gap.low:+.2f} to {gap.high:+.2f}: "
            f"{'within the noise of seeds' if inside else 'beyond the noise of seeds'}.",
            "",
        ]
    data = args.data.name if args.data else "digits"
    tested = args.test.name if args.test else "a tenth of them"
    lines.append(
        f"kNN top-1 in %, small encoder, {args.epochs} epochs of {pieces['ours'][0]['rows']} rows "
        f"of {data}, classified: {tested}."
    )
    return Section("quality", "Quality against a slow reference", lines, {"knn_top1": top1})


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="zip or folder of images in class folders")
    parser.add_argument("--test", type=Path, help="images of the same classes to classify")
    parser.add_argument("--rows", type=int, help="train on so many rows, as many of each class")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arm", choices=ARMS, help="only this one")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--remeasure", action="store_true", help="measure stored pieces again")
    parser.add_argument("--workers", type=int, default=cores(), help="of the reference")
    add_report_options(parser)
    return parser.parse_args()
