"""A classifier from few labels: from an encoder pretrained without labels, and from random weights.

    python -m benchmarks finetune [--data train.zip --test-data test.zip] [--epochs 20 100]

Both have the same labels, steps and views. The pretrained encoder has the suggested learning rate;
random weights have multiples of theirs, and the best on the test images counts, in their favor.
Each seed pretrains an encoder, and draws labels, of its own. Without --data: one half of the
digits, and the other half to test with.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import trainer.accel.openmp  # noqa: F401  # first, before torch is loaded, as the trainer's own main
from benchmarks.data.image_sets import ImageSet, prepare_images
from benchmarks.harness.report import Section, add_report_options, print_lines, publish
from benchmarks.suites.baselines import interval
from trainer.accel.device import DeviceConfig
from trainer.accel.malloc import keep_freed_memory
from trainer.data.pack.format import Pack
from trainer.demo import digits
from trainer.engine.train import RunPaths, train
from trainer.schema.artifact_names import EVALUATION, WEIGHTS
from trainer.schema.evaluation import EvaluationReport
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

FIGURE = "classifier_top1"
VIEWS: dict[str, Any] = {"flip_p": 0.0}
"""A mirrored digit is another sign, and a heart lies on one side."""
PRETRAIN: dict[str, Any] = {
    "batch_rows": 128,
    "method": {"name": "simclr"},
    "optim": {"name": "adamw", "lr": 0.002},
    "evaluation": None,
}
"""Settings that are not suggested ones, chosen on the half of the digits that is trained on."""
STRONG = {
    "crop_scale": [0.4, 1.0],
    "jitter_p": 0.5,
    "saturation": 0.0,
    "hue": 0.0,
    "grey_p": 0.0,
    "rotation_p": 0.7,
    "noise_p": 0.5,
}
"""Views of pretraining, of gray images."""


class Sets(NamedTuple):
    """Images to train on, and images to test with."""

    train: ImageSet
    test: ImageSet


class Pair(NamedTuple):
    """Accuracies of one seed and number of epochs."""

    epochs: int
    seed: int
    pretrained: float
    scratch: float


def main() -> None:
    """Run the seeds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="zip or folder; left out: digits")
    parser.add_argument("--test-data", type=Path, help="zip or folder to test with")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels-per-class", type=int, default=5)
    parser.add_argument("--epochs", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--pretrain-epochs", type=int, default=40)
    parser.add_argument("--rates", type=float, nargs="+", default=[1.0, 3.0])
    parser.add_argument("--side-px", type=int, default=16)
    parser.add_argument("--threads", type=int)
    add_report_options(parser)
    args = parser.parse_args()
    keep_freed_memory()  # as a process of a job does
    with tempfile.TemporaryDirectory(prefix="moco-") as folder:
        sets = _sets(args, Path(folder))
        pairs = [
            pair
            for seed in range(args.seeds)
            for pair in _pairs(sets, Path(folder) / str(seed), seed=seed, args=args)
        ]
    publish(section(sets, pairs, args), args)


def section(sets: Sets, pairs: Sequence[Pair], args: argparse.Namespace) -> Section:
    """Return the table of all seeds."""
    lines = [
        "| epochs | from the pretrained encoder | from random weights | difference | 95 % interval "
        "| by seed |",
        "|--:|--:|--:|--:|---|---|",
    ]
    for epochs in args.epochs:
        own = [pair for pair in pairs if pair.epochs == epochs]
        gains = [pair.pretrained - pair.scratch for pair in own]
        low, high = interval(gains)
        by_seed = ", ".join(f"{gain:+.3f}" for gain in gains)
        lines.append(
            f"| {epochs} | {mean(pair.pretrained for pair in own):.3f} "
            f"| {mean(pair.scratch for pair in own):.3f} | {mean(gains):+.3f} "
            f"| {low:+.3f} to {high:+.3f} | {by_seed} |"
        )
    lines += [
        "",
        f"Accuracy on {sets.test.rows} images of {sets.test.name} from {args.labels_per_class} "
        f"labels per class of {sets.train.name}; the interval is Student's of the mean difference.",
    ]
    figures = {"pairs": [pair._asdict() for pair in pairs]}
    return Section("finetune", "A classifier from few labels", lines, figures)


def _sets(args: argparse.Namespace, folder: Path) -> Sets:
    data = args.data, args.test_data
    if args.data is None:
        data = _digit_halves(folder / "digits")
    parts = zip(("train", "test"), data, strict=True)
    return Sets(*(prepare_images(source, folder / part) for part, source in parts))


def _digit_halves(folder: Path) -> tuple[Path, Path]:
    """Write every other digit to one folder, the rest to another."""
    halves = folder / "digits-train", folder / "digits-test"
    for row, (image, label) in enumerate(zip(*digits.images(), strict=True)):
        path = halves[row % 2] / digits.file_name(row, int(label))
        path.parent.mkdir(parents=True, exist_ok=True)
        digits.enlarged(image).save(path)
    return halves


def _pairs(sets: Sets, out: Path, *, seed: int, args: argparse.Namespace) -> list[Pair]:
    """Pretrain an encoder, then train each classifier of a seed."""
    common: dict[str, Any] = {
        "dataset": sets.train.name,
        "encoder": {"name": "small"},
        "views": VIEWS | {"side_px": args.side_px},
        "seed": seed,
    }
    donor = common | PRETRAIN | {"epochs": args.pretrain_epochs}
    _train(donor | {"views": common["views"] | STRONG}, sets, out / "donor", args=args)
    weights = out / "donor" / "artifacts" / WEIGHTS
    pairs = []
    for epochs in args.epochs:
        job = common | {
            "kind": "finetune",
            "test_dataset": sets.test.name,
            "epochs": epochs,
            "method": {"labels_per_class": args.labels_per_class},
        }
        pretrained = _accuracy(job, sets, out / f"{epochs}", init=weights, args=args)
        scratch = [
            _accuracy(at_rate(job, sets, rate), sets, out / f"{epochs}-{rate:g}", args=args)
            for rate in args.rates
        ]
        print_lines(f"random weights at {args.rates} times the suggested rate: {scratch}")
        pairs.append(Pair(epochs, seed, pretrained, max(scratch)))
        print_lines(str(pairs[-1]))
    return pairs


def at_rate(job: dict[str, Any], sets: Sets, rate: float) -> dict[str, Any]:
    """Return a job with a multiple of its suggested learning rate."""
    spec = resolve(JobSpec.model_validate_json(json.dumps(job)), Pack.open(sets.train.pack).facts)
    return job | {"optim": {"lr": rate * spec.spec.optim.lr}}


def _accuracy(
    job: dict[str, Any],
    sets: Sets,
    out: Path,
    *,
    args: argparse.Namespace,
    init: Path | None = None,
) -> float:
    begun = {} if init is None else {"init_from": {"weights": str(init)}}
    _train(job | begun, sets, out, args=args, init=init)
    report = EvaluationReport.model_validate_json((out / EVALUATION).read_bytes())
    (result,) = [each.result for each in report.evaluators if each.result]
    return next(figure.value for figure in result.figures if figure.name == FIGURE)


def _train(
    words: dict[str, Any],
    sets: Sets,
    out: Path,
    *,
    args: argparse.Namespace,
    init: Path | None = None,
) -> None:
    is_tested = "test_dataset" in words
    train(
        JobSpec.model_validate_json(json.dumps(words)),
        RunPaths(out, sets.train.pack, sets.test.pack if is_tested else None, init=init),
        device_config=DeviceConfig(device="cpu", threads=args.threads),
        emit=lambda _: None,
        should_stop=lambda: False,
    )
