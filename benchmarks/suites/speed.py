"""Training speed against LightlySSL, the paper's loop, and an experienced user's loop.

    python -m benchmarks speed [--data cifar10-train.zip] [--encoders resnet18 small] [--rounds R]

The same images, batch, encoder and number of steps in every arm; each arm is a process, and one
works at a time. Rounds are interleaved (`benchmarks/harness/interleaving.py`). Before each timed
block an arm makes untimed steps, which use up what its workers had prefetched while others were
timed. All arms make the views of MoCo v2. Without --data: scikit-learn's digits at 32 px. Nothing
else should run.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.arms.interface import OURS, PEERS, Setup
from benchmarks.data.image_sets import prepare_images
from benchmarks.harness.report import Section, add_report_options, cores, publish
from benchmarks.harness.rounds import Comparison, ComparisonResult, Plan, run_rounds

# A step of resnet18 takes longer than to fetch its batch, so one untimed step wakes the arm.
PLANS = {"resnet18": Plan(rounds=5, untimed=1, timed=3), "small": Plan(6, untimed=8, timed=12)}
TARGETS = {
    "resnet18": {"lightly": 2.8, "lightly-bf16": 2.0, "practice": 1.2},
    "small": {"lightly": 4.0, "lightly-bf16": 3.4},
}


def main() -> None:
    """Measure each encoder and publish its section."""
    args = parse_args()
    with tempfile.TemporaryDirectory(prefix="moco-") as folder:
        images = prepare_images(args.data, Path(folder), rows=args.rows)
        for encoder in args.encoders:
            setup = Setup(
                images=str(images.folder),
                pack=str(images.pack),
                encoder=encoder,
                batch_rows=args.batch_rows,
                queue_rows=args.queue_rows,
                side_px=args.side_px,
                workers=args.workers,
            )
            plan = PLANS[encoder].override(
                rounds=args.rounds, untimed=args.untimed, timed=args.steps
            )
            outcome = run_rounds(Comparison(OURS, args.arms, TARGETS[encoder]), setup, plan)
            caption = (
                f"{images.name}, {images.rows} rows, views of {setup.side_px} px, batch "
                f"{setup.batch_rows}, K {setup.queue_rows}, {setup.workers} workers of each "
                f"DataLoader; {plan.rounds} rounds, {plan.untimed} untimed and {plan.timed} timed "
                "steps a block."
            )
            publish(section(encoder, outcome, caption), args)


def section(encoder: str, outcome: ComparisonResult, caption: str) -> Section:
    """The table of an encoder."""
    return Section(
        name=f"speed-{encoder}",
        title=f"Training speed, {encoder}",
        lines=[*outcome.table(), "", caption],
        figures=outcome.figures(),
    )


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="zip or folder of images")
    parser.add_argument("--rows", type=int, help="take so many of them")
    parser.add_argument("--encoders", nargs="+", default=list(PLANS), choices=list(PLANS))
    parser.add_argument("--arms", nargs="+", default=list(PEERS), choices=PEERS)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--steps", type=int, help="timed steps of a block")
    parser.add_argument("--untimed", type=int, help="steps before the timed ones")
    parser.add_argument("--batch-rows", type=int, default=128)
    parser.add_argument("--queue-rows", type=int, default=4096)
    parser.add_argument("--side-px", type=int, default=32)
    parser.add_argument("--workers", type=int, default=cores(), help="of each DataLoader")
    add_report_options(parser)
    return parser.parse_args()
