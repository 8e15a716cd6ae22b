"""Costs that grow with the rows, with the queue, or with the position in an epoch.

    python -m benchmarks growth [--rows 10000 100000 1000000] [--only rows queue resume]

Packs of noise of 8 px, same-sized and not; each measurement in a process of its own, those that are
compared in turns within one. Nothing else should run.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.data.noise_pack import write_noise_pack
from benchmarks.harness.interleaving import Ratios, noise_ratios, relative_speeds
from benchmarks.harness.report import Section, add_report_options, print_lines, publish

PRIVATE_BYTES_A_ROW, INDEX_BYTES_A_ROW = 16.0, 24.0
QUEUE_RATIO, RESUME_RATIO = 1.2, 1.1
LOGITS_SHARE = 0.5
"""Share of one forward pass's logits, B x K x 4 bytes, that a step may hold beyond a small one."""
SIDE_PX, THREADS = 8, (0, 4)
SIZES = {"same size": True, "two sizes": False}


def main() -> None:
    """Measure the requested parts."""
    args = parse_args()
    with tempfile.TemporaryDirectory(prefix="moco-") as folder:
        for name in args.only:
            publish(PARTS[name](args, Path(folder)), args)


def measure_rows(args: argparse.Namespace, folder: Path) -> Section:
    """First batch, private memory and index of packs of each size."""
    results: list[dict[str, Any]] = []
    for kind, same_size in SIZES.items():
        for rows in args.rows:
            pack = folder / f"{kind} {rows}"
            write_noise_pack(pack, rows, side_px=SIDE_PX, same_size=same_size)
            for threads in THREADS:
                answer = run_measurement(
                    "rows", pack=str(pack), side_px=SIDE_PX, threads=threads, batch_rows=128
                )
                results.append({"kind": kind, "rows": rows, "threads": threads, **answer})
    lines = [
        "| pack | rows | loader threads | first batch | private memory | index, bytes a row |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['kind']} | {row['rows']:,} | {row['threads']} "
            f"| {1e3 * row['first_batch_s']:.1f} ms | {row['private_bytes'] / 2**20:.1f} MiB "
            f"| {row['index_bytes'] / row['rows']:.1f} |"
            for row in results
        ),
        "",
        *_bound_lines(results),
        "",
        "Private memory is what is anonymous, beyond that before the pack was opened, after each "
        "row was read once in batches of 128.",
    ]
    return Section("growth-rows", "Growth with the rows", lines, {"measurements": results})


def _bound_lines(results: list[dict[str, Any]]) -> list[str]:
    """Growth from the fewest to the most rows, for each kind of pack and number of threads."""
    lines = []
    for kind in SIZES:
        for threads in THREADS:
            same_kind = [row for row in results if (row["kind"], row["threads"]) == (kind, threads)]
            first, last = same_kind[0], same_kind[-1]
            added_rows = max(1, last["rows"] - first["rows"])
            slope = (last["private_bytes"] - first["private_bytes"]) / added_rows
            measured = f"private memory, {kind}, {threads} threads: {slope:.2f} bytes a row"
            lines.append(
                bound_line(measured, slope <= PRIVATE_BYTES_A_ROW, f"{PRIVATE_BYTES_A_ROW:g}")
            )
    index = max(row["index_bytes"] / row["rows"] for row in results)
    measured = f"index: {index:.1f} bytes a row"
    lines.append(bound_line(measured, index <= INDEX_BYTES_A_ROW, f"{INDEX_BYTES_A_ROW:g}"))
    return lines


def measure_queue(args: argparse.Namespace, folder: Path) -> Section:
    """Measure step time and peak memory with growing queues of 128-d keys."""
    pack, batch_rows = folder / "queue", args.batch_rows
    write_noise_pack(pack, 8 * batch_rows, side_px=32, same_size=True)
    common = {"pack": str(pack), "side_px": 32, "batch_rows": batch_rows}
    few, many, most = args.queues
    seconds = run_measurement(
        "queues", **common, sizes=[few, many], rounds=args.rounds, steps=args.steps
    )["seconds"]
    pairs = round_pairs(seconds[str(few)])
    ratio, noise = relative_speeds(pairs, seconds[str(many)]), noise_ratios(pairs)
    peaks = {
        rows: run_measurement("peak", **common, queue_rows=rows, steps=args.steps)
        for rows in args.queues
    }
    beyond_state_bytes = {
        rows: peak["peak_bytes"] - peak["state_bytes"] for rows, peak in peaks.items()
    }
    extra_share = (beyond_state_bytes[most] - beyond_state_bytes[few]) / (batch_rows * most * 4)
    lines = [
        "| K | step, best | queue | peak without it | logits of one pass |",
        "|---|---|---|---|---|",
        *(
            f"| {rows:,} | {1e3 * peak['step_s']:.1f} ms | {peak['state_bytes'] / 2**20:.0f} MiB "
            f"| {beyond_state_bytes[rows] / 2**20:.0f} MiB "
            f"| {batch_rows * rows * 4 / 2**20:.0f} MiB |"
            for rows, peak in peaks.items()
        ),
        "",
        bound_line(
            f"K {few:,} to {many:,} in turns: {format_ratio(ratio)} (A/A {format_ratio(noise)})",
            ratio.median <= QUEUE_RATIO,
            f"{QUEUE_RATIO:g}",
        ),
        bound_line(
            f"K {most:,}: beyond K {few:,} and the queue itself, "
            f"{extra_share:.2f} of a pass of logits",
            extra_share <= LOGITS_SHARE,
            f"{LOGITS_SHARE:g}",
        ),
        "",
        f"Small encoder, 32 px, batch {batch_rows}, 128-d keys; {args.rounds} rounds of "
        f"{args.steps} steps. The queue has all buffers with it, and its keys in bfloat16. The "
        "peak is that of the process while it steps.",
    ]
    figures = {"seconds": seconds, "peaks": {str(rows): peaks[rows] for rows in peaks}}
    return Section("growth-queue", "Growth with the queue", lines, figures)


def measure_resume(args: argparse.Namespace, folder: Path) -> Section:
    """Measure the time from opening a run to its first step, resumed early and late in an epoch."""
    pack, rows = folder / "resume", args.rows[-1]
    write_noise_pack(pack, rows, side_px=SIDE_PX, same_size=True)
    shares = [0.0, 0.99]
    seconds = run_measurement(
        "resume",
        pack=str(pack),
        side_px=SIDE_PX,
        batch_rows=args.batch_rows,
        shares=shares,
        rounds=args.rounds,
    )["seconds"]
    pairs = round_pairs(seconds["0.0"])
    ratio, noise = relative_speeds(pairs, seconds["0.99"]), noise_ratios(pairs)
    lines = [
        bound_line(
            f"resumed at 99 % against 0 % of an epoch of {rows:,} rows: {format_ratio(ratio)} "
            f"(A/A {format_ratio(noise)}), {1e3 * min(seconds['0.99']):.0f} ms at best",
            ratio.median <= RESUME_RATIO,
            f"{RESUME_RATIO:g}",
        )
    ]
    return Section("growth-resume", "Resuming", lines, {"seconds": seconds})


def run_measurement(name: str, **arguments: object) -> dict[str, Any]:
    """Run a measurement in its own process and return its figures."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.suites.growth.measurements",
        name,
        json.dumps(arguments),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    print_lines(f"{name}: {done.stdout.strip()[:200]}")
    return answer


def round_pairs(values: list[float]) -> list[tuple[float, float]]:
    """Return the subject's two values of each round."""
    return list(zip(values[::2], values[1::2], strict=True))


def format_ratio(ratios: Ratios) -> str:
    """Return a ratio with its interval as text."""
    return f"{ratios.median:.3f} ({ratios.low:.3f} to {ratios.high:.3f})"


def bound_line(measured: str, met: bool, most: str) -> str:
    """Return a list item that says whether a bound is met."""
    return f"- {'met' if met else 'MISSED'}: {measured}; at most {most}"


PARTS: dict[str, Callable[[argparse.Namespace, Path], Section]] = {
    "rows": measure_rows,
    "queue": measure_queue,
    "resume": measure_resume,
}


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--rows", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument(
        "--queues", nargs=3, type=int, default=[4096, 65_536, 2**20], metavar=("K", "K", "K")
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=5, help="of a timed block")
    parser.add_argument("--batch-rows", type=int, default=128)
    add_report_options(parser)
    return parser.parse_args()
