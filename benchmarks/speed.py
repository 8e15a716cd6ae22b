"""Optimizer steps against LightlySSL, the paper's loop, and competent practice.

    python -m benchmarks.speed [--data cifar10-train.zip] [--encoders resnet18 small] [--rounds R]

The same images, batch, encoder and number of steps in every arm; each arm is a process, and one
works at a time. Rounds are interleaved as `benchmarks.abba` says. Before each timed block an arm
makes untimed steps, which use up what its workers had fetched ahead while others were timed. All
arms make the views of MoCo v2. Without --data: scikit-learn's digits at 32 px. Nothing else should
run.
"""

import argparse
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.abba import Ratios, faster, order_of, same
from benchmarks.arm_process import running
from benchmarks.arms.interface import OURS, PEERS, Block, Setup
from benchmarks.images import ImageSet, prepared
from benchmarks.results import Section, add_options, cores, publish, tell


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to look at an encoder."""

    rounds: int
    untimed: int
    timed: int


# Workers keep four batches ready. Where a step takes seconds they are ready in any case, and one
# untimed step is enough to wake the arm.
PLANS = {"resnet18": Plan(rounds=5, untimed=1, timed=3), "small": Plan(6, untimed=5, timed=12)}
WANTED = {
    ("resnet18", "lightly"): 2.8,
    ("resnet18", "lightly-bf16"): 1.5,
    ("resnet18", "practice"): 1.2,
    ("small", "lightly"): 5.0,
    ("small", "lightly-bf16"): 4.0,
}
"""At least so many times as fast."""


def main() -> None:
    """Measure each encoder and keep a section of it."""
    args = parsed()
    with tempfile.TemporaryDirectory(prefix="moco-") as folder:
        images = prepared(args.data, Path(folder), rows=args.rows)
        for encoder in args.encoders:
            plan = planned(args, encoder)
            setup = Setup(
                images=str(images.folder),
                pack=str(images.pack),
                encoder=encoder,
                batch_rows=args.batch_rows,
                queue_rows=args.queue_rows,
                side_px=args.side_px,
                workers=args.workers,
            )
            publish(section(measured(setup, args.arms, plan), setup, plan, images), args)


def parsed() -> argparse.Namespace:
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
    add_options(parser)
    return parser.parse_args()


def planned(args: argparse.Namespace, encoder: str) -> Plan:
    """What the command line says, else what suits the encoder."""
    plan = PLANS[encoder]
    return Plan(
        plan.rounds if args.rounds is None else args.rounds,
        plan.untimed if args.untimed is None else args.untimed,
        plan.timed if args.steps is None else args.steps,
    )


def measured(setup: Setup, peers: list[str], plan: Plan) -> dict[str, list[Block]]:
    """Timed blocks of each arm in the order in which they ran; ours twice a round."""
    blocks: dict[str, list[Block]] = defaultdict(list)
    with ExitStack() as stack:
        arms = {name: stack.enter_context(running(name, setup)) for name in (OURS, *peers)}
        for arm in arms.values():
            arm.answer()  # they get ready side by side
        for arm in arms.values():
            arm.steps(max(1, plan.untimed))  # a first step makes what later ones find
            arm.wait_until_idle()
        for number in range(plan.rounds):
            for name in order_of(number, peers, subject=OURS):
                if plan.untimed:
                    arms[name].steps(plan.untimed)
                block = arms[name].steps(plan.timed)
                arms[name].wait_until_idle()
                blocks[name].append(block)
                rate = setup.batch_rows * plan.timed / block.seconds
                tell(f"{setup.encoder} round {number + 1}: {name} {rate:.1f} rows/s")
    return blocks


def section(blocks: dict[str, list[Block]], setup: Setup, plan: Plan, images: ImageSet) -> Section:
    """The table of an encoder."""
    seconds = {name: [block.seconds for block in some] for name, some in blocks.items()}
    ours = list(zip(seconds[OURS][::2], seconds[OURS][1::2], strict=True))
    ratios = {name: faster(ours, seconds[name]) for name in seconds if name != OURS}
    rows = setup.batch_rows * plan.timed
    rates = {name: [rows / each for each in some] for name, some in seconds.items()}
    lines = [
        "| arm | rows/s, median | ours / arm | 95 % interval | wanted | met | last loss |",
        "|---|---|---|---|---|---|---|",
        _line("ours against itself (A/A)", rates[OURS], same(ours), None, blocks[OURS]),
        *(
            _line(name, rates[name], ratios[name], WANTED.get((setup.encoder, name)), blocks[name])
            for name in ratios
        ),
        "",
        f"{images.name}, {images.rows} rows, views of {setup.side_px} px, batch "
        f"{setup.batch_rows}, K {setup.queue_rows}, {setup.workers} workers of each DataLoader; "
        f"{plan.rounds} rounds, {plan.untimed} untimed and {plan.timed} timed steps a block.",
    ]
    figures = {
        "encoder": setup.encoder,
        "rows_per_s": rates,
        "ratios": {name: list(ratio.each) for name, ratio in ratios.items()},
        "losses": {name: [block.loss for block in some] for name, some in blocks.items()},
    }
    return Section(f"speed-{setup.encoder}", f"Training speed, {setup.encoder}", lines, figures)


def _line(
    name: str, rates: list[float], ratios: Ratios, wanted: float | None, blocks: list[Block]
) -> str:
    """One row. A bar is met if the whole interval is above it."""
    bar, met = "", ""
    if wanted is not None:
        bar = f">= {wanted:g}"
        met = "yes" if ratios.low >= wanted else "no"
        if met == "no" and ratios.median >= wanted:
            met = "by the median"
    return (
        f"| {name} | {median(rates):.1f} | {ratios.median:.2f} | {ratios.low:.2f} to "
        f"{ratios.high:.2f} | {bar} | {met} | {blocks[-1].loss:.3f} |"
    )


if __name__ == "__main__":
    main()
