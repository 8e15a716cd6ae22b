"""kNN accuracy of a default job's encoder beside its baselines, by seeds.

    python -m benchmarks baselines [--data photos.zip] [--seeds 3] [--until-epoch 6]

Every setting is the suggested one, the small encoder apart. With --until-epoch the run is stopped
there: the figure is that of a job on its way, not of its end. Without --data: digits.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

from scipy import stats  # comes with scikit-learn

import trainer.accel.openmp  # noqa: F401  # first, before torch is loaded, as the trainer's own main
from benchmarks.data.image_sets import ImageSet, prepare_images
from benchmarks.harness.report import Section, add_report_options, print_lines, publish
from trainer.accel.device import DeviceConfig
from trainer.accel.malloc import keep_freed_memory
from trainer.data.pack.format import Pack
from trainer.engine.train import RunPaths, train
from trainer.evaluators.knn.spec import KnnSpec
from trainer.schema.events import Evaluated, Event, Judged
from trainer.schema.verdicts import BASELINES
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

SIGNALS = {"trained encoder": "knn_top1", **BASELINES}


@dataclass
class ReportedKnn:
    """Figures and verdict that a run reported up to an epoch."""

    until_epoch: int | None
    figures: dict[str, float] = field(default_factory=dict)
    epoch: float = 0.0
    verdict: str = ""
    is_done: bool = False

    def record(self, event: Event) -> None:
        """Keep the newest figures and verdict."""
        if isinstance(event, Evaluated) and "knn_top1" in event.signals:
            self.figures, self.epoch = event.signals, event.epoch
        if isinstance(event, Judged):
            self.verdict = event.word
            self.is_done = self.until_epoch is not None and self.epoch >= self.until_epoch


def main() -> None:
    """Run the seeds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="zip or folder; left out: digits")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--until-epoch", type=int)
    parser.add_argument("--threads", type=int)
    add_report_options(parser)
    args = parser.parse_args()
    keep_freed_memory()  # as a process of a job does
    with tempfile.TemporaryDirectory(prefix="moco-") as folder:
        images = prepare_images(args.data, Path(folder))
        specs = [_spec(images, seed) for seed in range(args.seeds)]
        runs = [_run(spec, images, Path(folder) / str(spec.seed), args) for spec in specs]
    publish(section(specs[0], runs), args)


def section(spec: JobSpec, runs: Sequence[ReportedKnn]) -> Section:
    """Return the table of all seeds."""
    (knn,) = spec.evaluators
    assert isinstance(knn, KnnSpec)
    lines = [
        "| features | kNN top-1, mean | 95 % interval of the mean | by seed |",
        "|---|--:|---|---|",
    ]
    for name, signal in SIGNALS.items():
        values = [run.figures[signal] for run in runs]
        low, high = interval(values)
        by_seed = ", ".join(f"{value:.3f}" for value in values)
        lines.append(f"| {name} | {mean(values):.3f} | {low:.3f} to {high:.3f} | {by_seed} |")
    verdicts = ", ".join(run.verdict for run in runs)
    lines += [
        "",
        f"k {knn.k}, backbone; after epoch {runs[0].epoch:g} of {spec.epochs}.",
    ]
    lines += [f"Verdicts: {verdicts}."]
    figures = {"epochs": spec.epochs, "runs": [vars(run) for run in runs]}
    return Section("baselines", "kNN beside its baselines", lines, figures)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return Student's interval of 95 % for the mean; of a single value nothing is known."""
    if len(values) < 2:
        return float("-inf"), float("inf")
    margin = float(stats.t.ppf(0.975, len(values) - 1)) * stdev(values) / sqrt(len(values))
    return mean(values) - margin, mean(values) + margin


def _spec(images: ImageSet, seed: int) -> JobSpec:
    settings = {"dataset": images.name, "encoder": {"name": "small"}, "seed": seed}
    return resolve(JobSpec.model_validate(settings), Pack.open(images.pack).facts).spec


def _run(spec: JobSpec, images: ImageSet, out: Path, args: argparse.Namespace) -> ReportedKnn:
    reported = ReportedKnn(args.until_epoch)
    device_config = DeviceConfig(device="cpu", threads=args.threads)
    paths = RunPaths(out, images.pack)
    train(
        spec,
        paths,
        device_config=device_config,
        emit=reported.record,
        should_stop=lambda: reported.is_done,
    )
    print_lines(
        f"seed {spec.seed}: epoch {reported.epoch:g}, {reported.figures}, {reported.verdict}"
    )
    return reported
