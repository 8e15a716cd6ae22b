"""Training speed inside the service against that of the bare trainer.

    python -m benchmarks overhead [--rounds 3] [--epochs 40] [--threads 2]

The same spec in two arms, in the order A B B A: A is a job through store and worker, B is
`python -m trainer`. Both are timed from outside, by when lines of metrics.jsonl appear on the
disk, from the second epoch to the last. The ratio of the two B of a round is the noise (A/A).
Nothing else should run.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.harness.report import print_lines, versions
from tests.support.worker.stack import Stack, running_stack

ROWS, BATCH_ROWS, SIDE_PX = 2048, 64, 16
STEPS_PER_EPOCH = ROWS // BATCH_ROWS
SPEC = {
    "dataset": "made-up",
    "encoder": {"name": "small"},
    "batch_rows": BATCH_ROWS,
    "evaluation": None,
    "signals_every_steps": STEPS_PER_EPOCH // 4,
}


def main() -> None:
    """Run the rounds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    production = {"MOCO_TICK_S": "1", "MOCO_LEASE_TTL_TICKS": "15", "MOCO_RENEW_EVERY_S": "3"}
    threads = {"MOCO_THREADS": str(args.threads), "OMP_NUM_THREADS": str(args.threads)}
    with (
        tempfile.TemporaryDirectory(prefix="moco-") as folder,
        running_stack(Path(folder), **production, **threads) as stack,
    ):
        worker = stack.start_worker()
        pack = stack.add_pack("small", rows=ROWS, side_px=SIDE_PX)
        stack.warm(worker)
        rounds = [run_round(stack, pack, args.epochs, args.threads) for _ in range(args.rounds)]
    ratios = [service / ((bare + again) / 2) for service, bare, again in rounds]
    noise = [again / bare for _, bare, again in rounds]
    print_lines(
        "| round | service rows/s | bare rows/s | service / bare | bare / bare |",
        "|---|---|---|---|---|",
        *(
            f"| {number} | {service:.0f} | {(bare + again) / 2:.0f} "
            f"| {ratio:.3f} | {noise_ratio:.3f} |"
            for number, ((service, bare, again), ratio, noise_ratio) in enumerate(
                zip(rounds, ratios, noise, strict=True), 1
            )
        ),
        f"| median | | | {median(ratios):.3f} | {median(noise):.3f} |",
        "",
        f"{ROWS} rows of {SIDE_PX} x {SIDE_PX} px, small encoder, batch {BATCH_ROWS}, "
        f"{args.epochs} epochs, {args.threads} threads; {versions()}.",
    )


def run_round(stack: Stack, pack: str, epochs: int, threads: int) -> tuple[float, float, float]:
    """A B B A: mean rows/s of the service, and both of the bare trainer."""
    spec = SPEC | {"epochs": epochs}
    first = service_rows_per_s(stack, pack, spec)
    bare = bare_rows_per_s(stack.data_dir, pack, spec, threads)
    again = bare_rows_per_s(stack.data_dir, pack, spec, threads)
    return (first + service_rows_per_s(stack, pack, spec)) / 2, bare, again


def service_rows_per_s(stack: Stack, pack: str, spec: dict[str, object]) -> float:
    """Return the speed of a job that runs through store and worker."""
    job_id = stack.submit(pack, **{name: spec[name] for name in spec if name != "dataset"})
    readings = stack.data_dir / "jobs" / job_id / "attempts" / "1" / "metrics.jsonl"

    def has_ended() -> bool:
        return stack.store.jobs.get(job_id).status in ("succeeded", "failed")

    speed = rows_per_s(readings, steps_of(spec), has_ended)
    stack.store.jobs.cancel(job_id)
    stack.wait_for(job_id, "cancelled", "succeeded")
    return speed


def bare_rows_per_s(data_dir: Path, pack: str, spec: dict[str, object], threads: int) -> float:
    """Return the speed of `python -m trainer`."""
    with tempfile.TemporaryDirectory(prefix="moco-") as folder:
        file, out = Path(folder, "spec.json"), Path(folder, "out")
        file.write_text(json.dumps(spec | {"dataset": str(data_dir / pack)}))
        process = subprocess.Popen(
            [sys.executable, "-m", "trainer", file, "--out", out, "--threads", str(threads)],
            stdout=subprocess.DEVNULL,
        )
        try:
            return rows_per_s(
                out / "metrics.jsonl", steps_of(spec), lambda: process.poll() is not None
            )
        finally:
            process.kill()
            process.wait()


def steps_of(spec: dict[str, object]) -> int:
    """Optimizer steps of a run."""
    return STEPS_PER_EPOCH * int(str(spec["epochs"]))


def rows_per_s(readings: Path, steps: int, has_ended: Callable[[], bool]) -> float:
    """Rows between the end of the first epoch and the last step, over the time between them.

    Answers at the last step: publishing, the same work in both arms, is not waited for.
    """
    first: tuple[int, float] | None = None
    size_bytes, checked_s = 0, time.monotonic()
    while True:
        now_s = time.monotonic()
        if now_s - checked_s > 1.0:  # seldom: in one arm this is a call of the store
            checked_s = now_s
            if has_ended():
                raise SystemExit("the run ended before its last step was seen")
        if readings.is_file() and readings.stat().st_size != size_bytes:
            size_bytes = readings.stat().st_size
            step = int(json.loads(readings.read_text().splitlines()[-1])["step"])
            if first is None and step >= STEPS_PER_EPOCH:
                first = (step, now_s)
            if first is not None and step == steps:
                return (step - first[0]) * BATCH_ROWS / (now_s - first[1])
        time.sleep(0.02)
