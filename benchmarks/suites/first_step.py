"""Time from submitting a small job to its first optimizer step.

    python -m benchmarks first_step [--jobs 30] [--spawned 6] [--threads 1]

Two arms, interleaved in one run, a spawned job after each few warm ones: a warm worker (submitted
to the store, until the step's event is in the job's stream, as a user sees it) and `python -m
trainer` started for each job (until the step's line is in metrics.jsonl, which is sooner). Nothing
else should run.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles

from benchmarks.harness.report import print_lines, versions
from tests.support.worker.stack import Stack, WorkerProcess, running_stack

SPEC = {
    "dataset": "made-up",
    "encoder": {"name": "small"},
    "batch_rows": 32,
    "epochs": 1,
    "evaluation": None,
    "signals_every_steps": 1,
}


def main() -> None:
    """Run both arms and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=30, help="on the warm worker")
    parser.add_argument("--spawned", type=int, default=6, help="as processes; at most --jobs")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    production = {"MOCO_TICK_S": "1", "MOCO_LEASE_TTL_TICKS": "15", "MOCO_RENEW_EVERY_S": "3"}
    with (
        tempfile.TemporaryDirectory(prefix="moco-") as folder,
        running_stack(Path(folder), **production, MOCO_THREADS=str(args.threads)) as stack,
    ):
        worker = stack.start_worker()
        pack = stack.add_pack("small", rows=500)
        stack.warm(worker)
        warm: list[float] = []
        spawned: list[float] = []
        for job in range(args.jobs):
            warm.append(warm_s(stack, pack, worker))
            if len(spawned) * args.jobs < (job + 1) * args.spawned:
                spawned.append(spawned_s(stack.data_dir / pack, Path(folder), job, args.threads))
    print_lines(
        f"| submit to first step, {args.jobs} jobs | p50 | p95 | max |",
        "|---|---|---|---|",
        f"| warm worker | {summary(warm)} |",
        f"| a process for each job, {len(spawned)} jobs | {summary(spawned)} |",
        "",
        f"500 rows of 8 x 8 px, small encoder, batch 32, {args.threads} threads; {versions()}.",
    )


def warm_s(stack: Stack, pack: str, worker: WorkerProcess) -> float:
    """Return the seconds to the first step of a job through the store, which is then cancelled."""
    began_s = time.time()
    job_id = stack.submit(pack, **{name: SPEC[name] for name in SPEC if name != "dataset"})
    after = "-"
    while worker.process.poll() is None:
        for event_id, text in stack.store.events.read(job_id, after=after, limit=100):
            after = event_id
            if json.loads(text)["type"] == "stepped":
                stack.store.jobs.cancel(job_id)
                stack.wait_for(job_id, "cancelled", "succeeded")
                return int(event_id.partition("-")[0]) / 1e3 - began_s
        time.sleep(0.01)
    raise SystemExit(worker.words())


def spawned_s(pack: Path, folder: Path, job: int, threads: int) -> float:
    """Return the seconds to the first step of a job in its own process."""
    out, spec = folder / f"spawned-{job}", folder / f"spawned-{job}.json"
    spec.write_text(json.dumps(SPEC | {"dataset": str(pack)}))
    began_s = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer", spec, "--out", out, "--threads", str(threads)],
        stdout=subprocess.DEVNULL,
    )
    readings = out / "metrics.jsonl"
    try:
        while not (readings.is_file() and readings.stat().st_size):
            if process.poll() is not None:
                raise SystemExit("the trainer ended before its first step")
            time.sleep(0.005)
        return time.perf_counter() - began_s
    finally:
        process.kill()
        process.wait()


def summary(times_s: list[float]) -> str:
    """Median, 95th percentile and maximum, as cells of a table."""
    percentiles = quantiles(times_s, n=100, method="inclusive")
    values_s = (percentiles[49], percentiles[94], max(times_s))
    return " | ".join(f"{value_s * 1e3:.0f} ms" for value_s in values_s)
