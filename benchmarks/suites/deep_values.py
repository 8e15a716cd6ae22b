"""Effect of the range of 16-bit values on kNN accuracy, on made-up slices.

    python -m benchmarks deep_values [--seeds 3] [--epochs 4]

480 slices of 64 px like those of a scanner: stripes, with the direction as class, take a few
hundred of the 65,536 values, beside a bright disc and an empty edge. Each range is ingested
separately, and a small encoder is trained at 32 px with all other settings left out.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import trainer.accel.openmp  # noqa: F401  # first, before torch is loaded, as the trainer's own main
from benchmarks.harness.report import print_lines
from trainer.accel.device import DeviceConfig
from trainer.data.ingest import ingest
from trainer.data.spec import IngestSpec
from trainer.engine.train import RunPaths, train
from trainer.modalities.image.augment.spec import ViewsSpec
from trainer.modalities.image.encoders.spec import EncoderSpec
from trainer.modalities.image.ingest import INGEST
from trainer.schema.events import DatasetFacts, Evaluated, Event
from trainer.spec.job import JobSpec

CLASSES, SLICES, SIDE_PX = 4, 120, 64
DISC_PX = 6
RANGES = ("860:1260", "auto")
VIEW_PX = 32


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="moco-") as name:
        source = Path(name) / "slices"
        write_slices(source, seed=1)
        for value_range in RANGES:
            out = Path(name) / value_range.replace(":", "-")
            facts = ingest_slices(source, out, value_range)
            top1s = [top1(out, seed=seed, epochs=args.epochs) for seed in range(args.seeds)]
            print_lines(line(value_range, facts, top1s))


def slices(*, seed: int, count: int = SLICES) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Slices u16 [4 x count, 64, 64] and the class of each."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), count)
    down, across = np.mgrid[:SIDE_PX, :SIDE_PX].astype(np.float64)
    return np.stack([_slice(rng, int(label), down, across) for label in labels]), labels


def _slice(
    rng: np.random.Generator,
    label: int,
    down: NDArray[np.float64],
    across: NDArray[np.float64],
) -> NDArray[np.uint16]:
    angle = np.pi * label / CLASSES + rng.normal(0, 0.12)
    pitch, phase = rng.uniform(0.35, 0.6), rng.uniform(0, 2 * np.pi)
    along = across * np.cos(angle) + down * np.sin(angle)
    values = 1060 + rng.normal(0, 20) + 60 * np.sin(pitch * along + phase)
    values += rng.normal(0, 25, values.shape)
    center = rng.uniform(DISC_PX, SIDE_PX - DISC_PX, 2)
    disc = (down - center[0]) ** 2 + (across - center[1]) ** 2 <= DISC_PX**2
    values[disc] = rng.uniform(1800, 3000)
    values[:, :3] = 0
    pixels: NDArray[np.uint16] = values.clip(0, 65_535).round().astype(np.uint16)
    return pixels


def write_slices(folder: Path, *, seed: int, count: int = SLICES) -> None:
    """Write each slice as a PNG into the folder of its class."""
    images, labels = slices(seed=seed, count=count)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / f"class{label}" / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def ingest_slices(source: Path, out: Path, value_range: str) -> DatasetFacts:
    """Ingest the slices in a range."""
    spec = IngestSpec(dataset_id="slices", source=str(source), range=value_range)
    return ingest(spec, modality=INGEST, out=out, emit=lambda _: None, should_stop=lambda: False)


def top1(out: Path, *, seed: int, epochs: int) -> float:
    """Return the last kNN reading of a job with default settings."""
    top1s: list[float] = []

    def emit(event: Event) -> None:
        if isinstance(event, Evaluated) and "knn_top1" in event.signals:
            top1s.append(event.signals["knn_top1"])

    spec = JobSpec(
        dataset="slices",
        seed=seed,
        epochs=epochs,
        encoder=EncoderSpec(name="small"),
        views=ViewsSpec(side_px=VIEW_PX),
    )
    with tempfile.TemporaryDirectory(prefix="moco-") as run:
        paths = RunPaths(Path(run), out / "pack")
        train(
            spec,
            paths,
            device_config=DeviceConfig(device="cpu"),
            emit=emit,
            should_stop=lambda: False,
        )
    return top1s[-1]


def line(value_range: str, facts: DatasetFacts, top1s: list[float]) -> str:
    """One row of the table."""
    warned = ", ".join(warning.code for warning in facts.warnings) or "none"
    each = " ".join(f"{value:.3f}" for value in top1s)
    return f"{value_range:>9}  kNN {mean(top1s):.3f}  ({each})  warnings: {warned}"
