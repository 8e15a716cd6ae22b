"""Speed of one job on two processes against two jobs of half the batch, one thread each.

    python -m benchmarks ranks [--rounds 7] [--steps 20] [--batch-rows 256] [--encoder small]

Both arms are two processes that stay ready; one arm works at a time, in the order A B A, then as
often as there are rounds. The ratio of the two A of a round is the noise (A/A). At least two cores
must be idle, and nothing else should run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.data.noise_pack import write_noise_pack
from benchmarks.harness.interleaving import noise_ratios, relative_speeds
from benchmarks.harness.report import print_lines, versions
from benchmarks.harness.rounds import verdict
from trainer.distributed.rank_store import listening_store, variables_of_ranks

RANKS, ROWS, SIDE_PX, SPLITS = 2, 4096, 32, 8
TARGET = 0.85
"""Minimum speed of one job on two processes, relative to two jobs that share nothing."""
START_TIMEOUT = timedelta(minutes=2)
PROCESS = "benchmarks.suites.ranks.process"


class Arm:
    """Two processes that run steps side by side."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def seconds(self, steps: int) -> float:
        """Have both run `steps` steps and return the time until the later one is done."""
        began_s = time.perf_counter()
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{steps}\n")
            process.stdin.flush()
        for process in self._processes:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise SystemExit(f"a process of the benchmark ended with {process.wait()}")
        return time.perf_counter() - began_s


def main() -> None:
    """Run the rounds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20, help="of a block")
    parser.add_argument("--batch-rows", type=int, default=256, help="of both processes together")
    parser.add_argument("--encoder", default="small")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="moco-") as folder, ExitStack() as stack:
        pack = Path(folder) / "pack"
        write_noise_pack(pack, ROWS, side_px=SIDE_PX, same_size=True)
        shared = spec_of(args.encoder, batch_rows=args.batch_rows, gpus=RANKS)
        half = spec_of(args.encoder, batch_rows=args.batch_rows // RANKS, gpus=1)
        store = listening_store("127.0.0.1", 0, timeout=START_TIMEOUT)
        ranks = variables_of_ranks(store, ranks=RANKS)
        one_job = stack.enter_context(running(shared, pack, ranks))
        two_jobs = stack.enter_context(running(half, pack, [{}] * RANKS))
        for arm in (one_job, two_jobs):
            arm.seconds(args.steps)  # the first steps make what later ones find
        pairs, others = [], []
        for _ in range(args.rounds):
            first = one_job.seconds(args.steps)
            others.append(two_jobs.seconds(args.steps))
            pairs.append((first, one_job.seconds(args.steps)))
    report(pairs, others, rows=args.batch_rows * args.steps)
    print_lines(
        f"{args.encoder} encoder at {SIDE_PX} px, batch {args.batch_rows} of two processes with a "
        f"thread each, {args.steps} steps a block; {versions()}."
    )


def report(pairs: list[tuple[float, float]], others: list[float], *, rows: int) -> None:
    """Print the rates of each round, and the ratio with its interval."""
    speeds, noise = relative_speeds(pairs, others), noise_ratios(pairs)
    print_lines(
        "| round | one job, rows/s | two jobs, rows/s | one / two |",
        "|---|---|---|---|",
        *(
            f"| {number} | {2 * rows / sum(pair):.0f} | {rows / other:.0f} | {ratio:.3f} |"
            for number, (pair, other, ratio) in enumerate(
                zip(pairs, others, speeds.each, strict=True), 1
            )
        ),
        "",
        f"one / two: median {speeds.median:.3f}, 95 % {speeds.low:.3f} to {speeds.high:.3f}; "
        f"wanted >= {TARGET:g}: {verdict(speeds, TARGET)}. A/A: median {noise.median:.3f}.",
    )


def spec_of(encoder: str, *, batch_rows: int, gpus: int) -> dict[str, Any]:
    """Return a job of MoCo v2 whose batch norm has groups of one size in both arms."""
    return {
        "dataset": "made-up",
        "epochs": 1000,
        "batch_rows": batch_rows,
        "resources": {"gpus": gpus},
        "encoder": {"name": encoder},
        "views": {"side_px": SIDE_PX},
        "method": {"queue_rows": 4096, "head": "mlp", "bn_splits": SPLITS * gpus},
        "evaluation": None,
        "signals_every_steps": 100_000,
        "checkpoint_every_s": 86_400.0,
    }


@contextmanager
def running(spec: dict[str, Any], pack: Path, environments: list[dict[str, str]]) -> Iterator[Arm]:
    """Start a process for each environment; they end with the block."""
    command = [sys.executable, "-m", PROCESS, json.dumps(spec), str(pack)]
    processes = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | own,
        )
        for own in environments
    ]
    try:
        yield Arm(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
