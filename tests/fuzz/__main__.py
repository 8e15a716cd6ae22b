"""`make fuzz`: ten thousand calls as everybody; nothing may be a mistake of the service."""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

import structlog

from tests.fuzz.run import Plan, fuzzed_api, run, statuses
from tests.fuzz.schema import Effort
from tests.fuzz.storage import RETENTION, after_retention, fill

CALLS_MIN = 10_000


def plan(seed: int) -> Plan:
    """Most is tried with the key that may do everything; the others meet every border, too."""
    borders = Effort(examples=3, seed=seed)
    few = Effort(examples=2, phases="fuzzing", seed=seed)
    return Plan(
        efforts={
            "none": few,
            "wrong": few,
            "scrape": few,
            "read": borders,
            "full": Effort(examples=40, seed=seed),
            "session-read": few,
            "session-full": borders,
            "cross-site": few,
        },
        raw=2000,
        race_jobs=100,
        seed=seed,
    )


def main(arguments: list[str]) -> int:
    """Fuzz once, and tell the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    seed = parser.parse_args(arguments).seed
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=quiet)
    logging.disable(logging.CRITICAL)  # uvicorn has a line for each request that it cannot read
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="moco-fuzz-") as name:
        folder = Path(name)
        with fuzzed_api(folder, **RETENTION) as api:
            sent = fill(api)
            calls = run(api, plan(seed), folder=folder)
            answers, room = statuses(api), after_retention(api)
    for who, count in calls.items():
        print(f"{who:>13} {count:6,} calls")
    told = ", ".join(f"{count:,} of {kind}" for kind, count in sorted(answers.items()))
    print(f"{sum(calls.values()):,} calls in {time.monotonic() - began_s:.0f} s: {told}")
    print(
        f"{sent:,} bytes of uploads that never ended; {room.most:,} bytes on the disk after the "
        f"calls, {room.left:,} after retention, {room.live:,} of them of use"
    )
    return 0 if sum(calls.values()) >= CALLS_MIN else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
