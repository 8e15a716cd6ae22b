"""Cost of checkpoints in training time.

    python -m benchmarks checkpoint_overhead [--rounds 3] [--arm-s 12] [--every-s 3] [--threads 2]

The same run in two arms, in the order A B A: A makes no checkpoint, B makes one each EVERY_S, or
less often where the rule of 2 % says so. The ratio of the two A of a round is the noise (A/A).
`stall` is what a checkpoint takes from the training thread; `slower` counts the writing too.
Nothing else should run.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import trainer.accel.openmp  # noqa: F401  # first, before torch is loaded
from benchmarks.harness.report import print_lines, versions
from tests.support.data.tiny_pack import blobs, write_pack
from trainer.accel.device import DeviceConfig
from trainer.engine.build import RunPaths, build_run
from trainer.schema.events import Checkpointed, Event
from trainer.spec.job import JobSpec

ROWS, BATCH_ROWS, SIDE_PX = 512, 32, 32
ENCODERS = ("small", "resnet18")
WARM_STEPS = 3
NEVER_S = 86_400.0


@dataclass(frozen=True)
class Arm:
    """Measurements of one arm."""

    rows_per_s: float
    stalls_s: float
    checkpoints: int
    size_bytes: int


def main() -> None:
    """Run the rounds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arm-s", type=float, default=12.0)
    parser.add_argument("--every-s", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory(prefix="moco-") as folder:
        images, _ = blobs(ROWS, side_px=SIDE_PX, classes=2)
        write_pack(Path(folder) / "pack", images)
        for encoder in ENCODERS:
            for number in range(1, args.rounds + 1):
                before, saving, after = (
                    run_arm(Path(folder), encoder, args, every_s=every_s)
                    for every_s in (NEVER_S, args.every_s, NEVER_S)
                )
                mean = (before.rows_per_s + after.rows_per_s) / 2
                stall_ms = 1e3 * saving.stalls_s / max(1, saving.checkpoints)
                lines.append(
                    f"| {encoder} | {number} "
                    f"| {saving.checkpoints} | {saving.size_bytes / 1e6:.1f} MB "
                    f"| {stall_ms:.1f} ms | {1 - saving.rows_per_s / mean:+.3f} "
                    f"| {after.rows_per_s / before.rows_per_s:.3f} |"
                )
    print_lines(
        "| encoder | round | checkpoints | size | stall of each | slower by | A / A |",
        "|---|---|---|---|---|---|---|",
        *lines,
        "",
        f"{SIDE_PX} x {SIDE_PX} px, batch {BATCH_ROWS}, arms of {args.arm_s:g} s, a checkpoint "
        f"each {args.every_s:g} s, {args.threads} threads; {versions()}.",
    )


def run_arm(folder: Path, encoder: str, args: argparse.Namespace, *, every_s: float) -> Arm:
    """Train for a while in a new folder."""
    checkpoints: list[Checkpointed] = []

    def emit(event: Event) -> None:
        if isinstance(event, Checkpointed):
            checkpoints.append(event)

    spec = JobSpec.model_validate(
        {
            "dataset": "made-up",
            "encoder": {"name": encoder},
            "epochs": 10_000,
            "batch_rows": BATCH_ROWS,
            "evaluation": None,
            "signals_every_steps": 100_000,
            "checkpoint_every_s": every_s,
        }
    )
    device_config = DeviceConfig(device="cpu", threads=args.threads)
    with (
        tempfile.TemporaryDirectory(dir=folder) as out,
        build_run(spec, RunPaths(Path(out), folder / "pack"), device_config=device_config) as run,
    ):
        for _ in range(WARM_STEPS):
            run.advance()
        began_s, began_step = time.monotonic(), run.step
        while time.monotonic() - began_s < args.arm_s:
            run.save_behind(emit)
            run.advance()
        rate = (run.step - began_step) * BATCH_ROWS / (time.monotonic() - began_s)
        run.checkpoint_manager.wait()
        size_bytes = checkpoints[-1].size_bytes if checkpoints else 0
        return Arm(rate, run.stopwatch.spent_s["checkpoint_s"], len(checkpoints), size_bytes)
