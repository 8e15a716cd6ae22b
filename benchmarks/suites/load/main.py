"""API latency under load and with slow clients, on a real Redis that syncs every write.

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

from benchmarks.harness.report import print_lines, versions
from benchmarks.suites.load.api_server import ApiServer, running_server
from benchmarks.suites.load.broken_upload import upload
from benchmarks.suites.load.job_requests import claim_jobs, list_jobs, post_jobs
from benchmarks.suites.load.slow_clients import slow_requests, watch_events

Part = Callable[[ApiServer], dict[str, float]]
PARTS: dict[str, Part] = {
    "post": post_jobs,
    "list": list_jobs,
    "queue": claim_jobs,
    "slow": slow_requests,
    "sse": watch_events,
    "upload": upload,
}
TARGETS = {
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
    unknown = set(names) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    figures_by_part = {name: run(PARTS[name]) for name in names}
    print_lines("| part | figure | value | target |", "|---|---|---|---|")
    for name, figures in figures_by_part.items():
        for figure, value in figures.items():
            print_lines(f"| {name} | {figure} | {value:.6g} | {TARGETS.get((name, figure), '')} |")
    print_lines("", f"{versions()}; {os.cpu_count()} cores.")
    if args.json is not None:
        args.json.write_text(json.dumps(figures_by_part, indent=2) + "\n")


def run(part: Part) -> dict[str, float]:
    """Run one part in a temporary folder."""
    with (
        tempfile.TemporaryDirectory(prefix="moco-") as folder,
        running_server(Path(folder)) as server,
    ):
        return part(server)
