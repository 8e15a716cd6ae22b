"""Two views of each row: in batches, from packs of pixels or JPEGs, against Pillow row by row.

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
from benchmarks.data.image_sets import ImageSet, prepared
from benchmarks.harness.report import Section, add_options, cores, publish
from benchmarks.harness.rounds import Contest, Outcome, Plan, measured

PIL = ("views-pil-files", "views-pil-memory")


@dataclass(frozen=True, slots=True)
class Part:
    """One comparison."""

    name: str
    title: str
    kind: str
    side_px: int
    batch_rows: int
    contest: Contest
    plan: Plan


PARTS = (
    Part(
        "views-32",
        "Views at 32 px, from the pack",
        "small",
        32,
        128,
        Contest("views-pack", PIL, {"views-pil-files": 15.0}),
        Plan(rounds=9, untimed=6, timed=16),
    ),
    Part(
        "views-224-pack",
        "Views at 224 px, from the pack",
        "photos",
        224,
        32,
        Contest("views-pack", PIL, {"views-pil-files": 5.0}),
        Plan(rounds=9, untimed=5, timed=6),
    ),
    Part(
        "views-224-jpeg",
        "Views at 224 px, from a pack of JPEGs",
        "photos",
        224,
        32,
        Contest("views-jpeg", PIL[:1], {"views-pil-files": 2.5}),
        Plan(rounds=9, untimed=5, timed=6),
    ),
)
NAMES = [part.name for part in PARTS]


def main() -> None:
    """Measure each part and keep a section of it."""
    args = parsed()
    with tempfile.TemporaryDirectory(prefix="moco-") as name:
        folder = Path(name)
        photos = args.photos or made_up_photos(folder / "made-up", count=24)
        sets = {
            "small": prepared(args.data, folder / "small", rows=args.rows),
            "photos": prepared(photos, folder / "photos", rows=args.rows),
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
    ahead = 2 * args.workers + 1  # batches that workers may have ready, and one
    untimed = max(part.plan.untimed, ahead) if args.untimed is None else args.untimed
    plan = part.plan.changed(rounds=args.rounds, untimed=untimed, timed=args.steps)
    outcome = measured(part.contest, setup, plan)
    about = (
        f"{images.name}, {images.rows} rows, batch {setup.batch_rows}, {setup.workers} workers or "
        f"threads that decode; {plan.rounds} rounds, {plan.untimed} untimed and {plan.timed} timed "
        "batches a block."
    )
    publish(section(part, outcome, about), args)


def section(part: Part, outcome: Outcome, about: str) -> Section:
    """The table of a part, without the column of losses: there are none."""
    lines = [line.rpartition("|")[0].rpartition("|")[0] + "|" for line in outcome.table()]
    return Section(part.name, part.title, [*lines, "", about], outcome.figures())


def made_up_photos(folder: Path, *, count: int) -> Path:
    """JPEG files of 500 x 375 px that pack as badly as photos do."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(count):
        rough = draw.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        photo = Image.fromarray(rough).resize((500, 375), Image.Resampling.BICUBIC)
        photo.save(folder / f"{number:03d}.jpg", quality=90)
    return folder


def parsed() -> argparse.Namespace:
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
    add_options(parser)
    return parser.parse_args()
