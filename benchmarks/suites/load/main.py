"""The API under load and under hostile clients, on a real Redis whose AOF is synced always.

    python -m benchmarks load [--only post,list,queue,slow,sse,upload] [--json FILE]

Each part has a store and an API process of its own on loopback, in a folder that is removed
afterwards. The clients share the machine with both. `ratio` of `post` is to the SETs per second
that redis-benchmark does against the same Redis right afterwards.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness.report import tell, versions
from benchmarks.suites.load.api_server import Stage, running_stage
from benchmarks.suites.load.broken_upload import upload
from benchmarks.suites.load.job_requests import listing, post, queue
from benchmarks.suites.load.slow_clients import slow, watchers

Part = Callable[[Stage], dict[str, float]]
PARTS: dict[str, Part] = {
    "post": post,
    "list": listing,
    "queue": queue,
    "slow": slow,
    "sse": watchers,
    "upload": upload,
}
WANTED = {
    ("post", "post_p99_ms"): "<= 100",
    ("list", "ratio"): "<= 1.5",
    ("queue", "claim_p99_ms"): "<= 5",
    ("slow", "ratio"): "< 2",
    ("slow", "heads_closed_within_s"): "<= 15",
    ("slow", "bodies_closed_within_s"): "<= 15",
    ("upload", "api_extra_mib"): "<= 64",
}


def main() -> None:
    """Run the requested parts and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    names = args.only.split(",")
    strange = set(names) - set(PARTS)
    if strange:
        parser.error(f"there is no part {', '.join(sorted(strange))}")
    found = {name: run(PARTS[name]) for name in names}
    tell("| part | figure | value | wanted |", "|---|---|---|---|")
    for name, figures in found.items():
        for figure, value in figures.items():
            tell(f"| {name} | {figure} | {value:.6g} | {WANTED.get((name, figure), '')} |")
    tell("", f"{versions()}; {os.cpu_count()} cores.")
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


def run(part: Part) -> dict[str, float]:
    """One part, in a folder of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="moco-") as folder,
        running_stage(Path(folder)) as stage,
    ):
        return part(stage)
