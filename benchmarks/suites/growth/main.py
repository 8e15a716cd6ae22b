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

from benchmarks.data.noise_pack import write_big_pack
from benchmarks.harness.interleaving import Ratios, faster, same
from benchmarks.harness.report import Section, add_options, publish, tell

PRIVATE_BYTES_A_ROW, INDEX_BYTES_A_ROW = 16.0, 24.0
QUEUE_RATIO, RESUME_RATIO = 1.05, 1.1
LOGITS_SHARE = 0.5
"""Share of one forward pass's logits, B x K x 4 bytes, that a step may hold beyond a small one."""
SIDE_PX, THREADS = 8, (0, 4)
SIZES = {"same size": True, "two sizes": False}


def main() -> None:
    """Measure the requested parts."""
    args = parsed()
    with tempfile.TemporaryDirectory(prefix="moco-") as folder:
        for name in args.only:
            publish(PARTS[name](args, Path(folder)), args)


def grown_with_rows(args: argparse.Namespace, folder: Path) -> Section:
    """First batch, private memory and index of packs of each size."""
    found: list[dict[str, Any]] = []
    for kind, same_size in SIZES.items():
        for rows in args.rows:
            pack = folder / f"{kind} {rows}"
            write_big_pack(pack, rows, side_px=SIDE_PX, same_size=same_size)
            for threads in THREADS:
                answer = part(
                    "rows", pack=str(pack), side_px=SIDE_PX, threads=threads, batch_rows=128
                )
                found.append({"kind": kind, "rows": rows, "threads": threads, **answer})
    lines = [
        "| pack | rows | loader threads | first batch | private memory | index, bytes a row |",
        "|---|---|---|---|---|---|",
        *(
            f"| {one['kind']} | {one['rows']:,} | {one['threads']} "
            f"| {1e3 * one['first_batch_s']:.1f} ms | {one['private_bytes'] / 2**20:.1f} MiB "
            f"| {one['index_bytes'] / one['rows']:.1f} |"
            for one in found
        ),
        "",
        *_verdicts_of_rows(found),
        "",
        "Private memory is what is anonymous, beyond that before the pack was opened, after each "
        "row was read once in batches of 128.",
    ]
    return Section("growth-rows", "Growth with the rows", lines, {"found": found})


def _verdicts_of_rows(found: list[dict[str, Any]]) -> list[str]:
    """Growth from the fewest to the most rows, for each kind of pack and number of threads."""
    lines = []
    for kind in SIZES:
        for threads in THREADS:
            some = [one for one in found if (one["kind"], one["threads"]) == (kind, threads)]
            first, last = some[0], some[-1]
            more = max(1, last["rows"] - first["rows"])
            slope = (last["private_bytes"] - first["private_bytes"]) / more
            what = f"private memory, {kind}, {threads} threads: {slope:.2f} bytes a row"
            lines.append(verdict(what, slope <= PRIVATE_BYTES_A_ROW, f"{PRIVATE_BYTES_A_ROW:g}"))
    index = max(one["index_bytes"] / one["rows"] for one in found)
    what = f"index: {index:.1f} bytes a row"
    lines.append(verdict(what, index <= INDEX_BYTES_A_ROW, f"{INDEX_BYTES_A_ROW:g}"))
    return lines


def grown_with_queue(args: argparse.Namespace, folder: Path) -> Section:
    """Step time and peak of memory with longer and longer queues, at 128-d."""
    pack, batch_rows = folder / "queue", args.batch_rows
    write_big_pack(pack, 8 * batch_rows, side_px=32, same_size=True)
    common = {"pack": str(pack), "side_px": 32, "batch_rows": batch_rows}
    few, many, most = args.queues
    seconds = part("queues", **common, sizes=[few, many], rounds=args.rounds, steps=args.steps)[
        "seconds"
    ]
    pairs = paired(seconds[str(few)])
    ratio, noise = faster(pairs, seconds[str(many)]), same(pairs)
    peaks = {
        rows: part("peak", **common, queue_rows=rows, steps=args.steps) for rows in args.queues
    }
    above_bytes = {
        rows: found["peak_bytes"] - found["state_bytes"] for rows, found in peaks.items()
    }
    beyond = (above_bytes[most] - above_bytes[few]) / (batch_rows * most * 4)
    lines = [
        "| K | step, best | queue | peak without it | logits of one pass |",
        "|---|---|---|---|---|",
        *(
            f"| {rows:,} | {1e3 * found['step_s']:.1f} ms | {found['state_bytes'] / 2**20:.0f} MiB "
            f"| {above_bytes[rows] / 2**20:.0f} MiB | {batch_rows * rows * 4 / 2**20:.0f} MiB |"
            for rows, found in peaks.items()
        ),
        "",
        verdict(
            f"K {few:,} to {many:,} in turns: {shown(ratio)} (A/A {shown(noise)})",
            ratio.median <= QUEUE_RATIO,
            f"{QUEUE_RATIO:g}",
        ),
        verdict(
            f"K {most:,}: beyond K {few:,} and the queue itself, {beyond:.2f} of a pass of logits",
            beyond <= LOGITS_SHARE,
            f"{LOGITS_SHARE:g}",
        ),
        "",
        f"Small encoder, 32 px, batch {batch_rows}, 128-d keys; {args.rounds} rounds of "
        f"{args.steps} steps. The queue has all buffers with it, and its keys in bfloat16. The "
        "peak is that of the process while it steps.",
    ]
    figures = {"seconds": seconds, "peaks": {str(rows): peaks[rows] for rows in peaks}}
    return Section("growth-queue", "Growth with the queue", lines, figures)


def grown_with_progress(args: argparse.Namespace, folder: Path) -> Section:
    """Measure the time from opening a run to its first step, resumed early and late in an epoch."""
    pack, rows = folder / "resume", args.rows[-1]
    write_big_pack(pack, rows, side_px=SIDE_PX, same_size=True)
    shares = [0.0, 0.99]
    seconds = part(
        "resume",
        pack=str(pack),
        side_px=SIDE_PX,
        batch_rows=args.batch_rows,
        shares=shares,
        rounds=args.rounds,
    )["seconds"]
    pairs = paired(seconds["0.0"])
    ratio, noise = faster(pairs, seconds["0.99"]), same(pairs)
    lines = [
        verdict(
            f"resumed at 99 % against 0 % of an epoch of {rows:,} rows: {shown(ratio)} "
            f"(A/A {shown(noise)}), {1e3 * min(seconds['0.99']):.0f} ms at best",
            ratio.median <= RESUME_RATIO,
            f"{RESUME_RATIO:g}",
        )
    ]
    return Section("growth-resume", "Resuming", lines, {"seconds": seconds})


def part(name: str, **arguments: object) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.suites.growth.measurements",
        name,
        json.dumps(arguments),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    tell(f"{name}: {done.stdout.strip()[:200]}")
    return answer


def paired(values: list[float]) -> list[tuple[float, float]]:
    """The two of each round."""
    return list(zip(values[::2], values[1::2], strict=True))


def shown(ratios: Ratios) -> str:
    """A ratio with its interval."""
    return f"{ratios.median:.3f} ({ratios.low:.3f} to {ratios.high:.3f})"


def verdict(what: str, met: bool, most: str) -> str:
    """One line of a list."""
    return f"- {'met' if met else 'MISSED'}: {what}; at most {most}"


PARTS: dict[str, Callable[[argparse.Namespace, Path], Section]] = {
    "rows": grown_with_rows,
    "queue": grown_with_queue,
    "resume": grown_with_progress,
}


def parsed() -> argparse.Namespace:
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
    add_options(parser)
    return parser.parse_args()
