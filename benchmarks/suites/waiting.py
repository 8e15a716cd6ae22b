"""Training speed by the time that waiting threads spin, on idle cores and on busy ones.

    python -m benchmarks waiting [--data cifar10-train.zip] [--only alone busy]

Steps of the small encoder by threads that spin as `trainer.accel.openmp` says, that sleep at once,
and that spin as libgomp has it. `busy`: beside one process for each core that computes all the time
and shares nothing. Interleaved as in `speed`. Without --data: scikit-learn's digits.
Nothing else should run.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from benchmarks.arms.interface import OURS, Setup
from benchmarks.data.image_sets import prepare_images
from benchmarks.harness.report import Section, add_report_options, cores, publish
from benchmarks.harness.rounds import Comparison, Plan, run_rounds

OTHERS = ("ours-asleep", "ours-spinning")
PLAN = Plan(rounds=6, untimed=2, timed=12)
TITLES = {
    "alone": "Waiting threads, on cores of their own",
    "busy": "Waiting threads, on busy cores",
}


def main() -> None:
    """Measure each part and publish its section."""
    args = parse_args()
    plan = PLAN.override(rounds=args.rounds, untimed=None, timed=args.steps)
    with tempfile.TemporaryDirectory(prefix="moco-") as folder:
        images = prepare_images(args.data, Path(folder), rows=args.rows)
        setup = Setup(
            images=str(images.folder),
            pack=str(images.pack),
            encoder="small",
            batch_rows=args.batch_rows,
            queue_rows=args.queue_rows,
            side_px=32,
            workers=0,
        )
        caption = (
            f"{images.name}, {images.rows} rows, batch {setup.batch_rows}, K {setup.queue_rows}; "
            f"{plan.rounds} rounds of {plan.timed} timed steps."
        )
        for part in args.only:
            with busy_cores() if part == "busy" else nullcontext():
                outcome = run_rounds(Comparison(OURS, OTHERS, {}), setup, plan)
            lines = [*outcome.table(), "", caption]
            publish(Section(f"waiting-{part}", TITLES[part], lines, outcome.figures()), args)


@contextmanager
def busy_cores() -> Iterator[None]:
    """Keep every core busy with one computing process each."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(cores())]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="zip or folder of small images")
    parser.add_argument("--rows", type=int, help="take so many")
    parser.add_argument("--only", nargs="+", default=list(TITLES), choices=list(TITLES))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--steps", type=int, help="timed steps of a block")
    parser.add_argument("--batch-rows", type=int, default=128)
    parser.add_argument("--queue-rows", type=int, default=4096)
    add_report_options(parser)
    return parser.parse_args()
