"""Augmentation speed: batches from packs of pixels or JPEGs against Pillow row by row.

    python -m benchmarks views_speed [--data cifar10-train.zip] [--photos photos-200.zip]

At 32 px from small images, at 224 px from photos, which packs hold at 256 px. The peers are
torchvision's transforms on PIL images in the workers of a DataLoader, from the files as they are
and from memory. All make the views of MoCo v2 (arXiv:2003.04297), with its probabilities.
Interleaved as in `speed`. Without --data: scikit-learn's digits; without --photos: noise with the
sizes of photos. Nothing else should run.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.arms.interface import Setup
from benchmarks.data.image_sets import ImageSet, prepare_images
from benchmarks.harness.report import Section, add_report_options, cores, publish
from benchmarks.harness.rounds import Comparison, ComparisonResult, Plan, run_rounds

PIL = ("views-pil-files", "views-pil-memory")


@dataclass(frozen=True, slots=True)
class Part:
    """One comparison."""

    name: str
    title: str
    kind: str
    side_px: int
    batch_rows: int
    comparison: Comparison
    plan: Plan


PARTS = (
    Part(
        "views-32",
        "Views at 32 px, from the pack",
        "small",
        32,
        128,
        Comparison("views-pack", PIL, {"views-pil-files": 15.0}),
        Plan(rounds=9, untimed=6, timed=16),
    ),
    Part(
        "views-224-pack",
        "Views at 224 px, from the pack",
        "photos",
        224,
        32,
        Comparison("views-pack", PIL, {"views-pil-files": 5.0}),
        Plan(rounds=9, untimed=5, timed=6),
    ),
    Part(
        "views-224-jpeg",
        "Views at 224 px, from a pack of JPEGs",
        "photos",
        224,
        32,
        Comparison("views-jpeg", PIL[:1], {"views-pil-files": 2.5}),
        Plan(rounds=9, untimed=5, timed=6),
    ),
)
NAMES = [part.name for part in PARTS]


def main() -> None:
    """Measure each part and publish its section."""
    args = parse_args()
    with tempfile.TemporaryDirectory(prefix="moco-") as name:
        folder = Path(name)
        photos = args.photos or write_synthetic_photos(folder / "made-up", count=24)
        sets = {
            "small": prepare_images(args.data, folder / "small", rows=args.rows),
            "photos": prepare_images(photos, folder / "photos", rows=args.rows),
        }
        for part in PARTS:
            if part.name in args.only:
                run(part, sets[part.kind], args)


def run(part: Part, images: ImageSet, args: argparse.Namespace) -> None:
    """One part."""
    setup = Setup(
        images=str(images.folder),
        pack=str(images.pack),
        encoder="resnet18",
        batch_rows=args.batch_rows or part.batch_rows,
        queue_rows=2,
        side_px=part.side_px,
        workers=args.workers,
    )
    prefetched = 2 * args.workers + 1  # batches that workers may have ready, and one
    untimed = max(part.plan.untimed, prefetched) if args.untimed is None else args.untimed
    plan = part.plan.override(rounds=args.rounds, untimed=untimed, timed=args.steps)
    outcome = run_rounds(part.comparison, setup, plan)
    caption = (
        f"{images.name}, {images.rows} rows, batch {setup.batch_rows}, {setup.workers} workers or "
        f"threads that decode; {plan.rounds} rounds, {plan.untimed} untimed and {plan.timed} timed "
        "batches a block."
    )
    publish(section(part, outcome, caption), args)


def section(part: Part, outcome: ComparisonResult, caption: str) -> Section:
    """Return the section of a part; its table has no column of losses."""
    lines = [line.rpartition("|")[0].rpartition("|")[0] + "|" for line in outcome.table()]
    return Section(part.name, part.title, [*lines, "", caption], outcome.figures())


def write_synthetic_photos(folder: Path, *, count: int) -> Path:
    """Write JPEG files of 500 x 375 px that compress about as poorly as photos."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        noise = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        photo = Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC)
        photo.save(folder / f"{number:03d}.jpg", quality=90)
    return folder


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="zip or folder of small images")
    parser.add_argument("--photos", type=Path, help="zip or folder of photos")
    parser.add_argument("--rows", type=int, help="take so many of each")
    parser.add_argument("--only", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--steps", type=int, help="timed batches of a block")
    parser.add_argument("--untimed", type=int, help="batches before the timed ones")
    parser.add_argument("--batch-rows", type=int)
    parser.add_argument("--workers", type=int, default=cores(), help="of each DataLoader")
    add_report_options(parser)
    return parser.parse_args()
