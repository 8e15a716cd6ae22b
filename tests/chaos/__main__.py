"""`python -m tests.chaos`: a thousand faults over hundreds of jobs, and what became of them."""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.storm import Storm, Wanted
from tests.support.chaos.report import table
from tests.support.chaos.world import SHORT, running_world

TWO_SLOTS = {"MOCO_SLOTS": "2"}
"""A job of two ranks fits on each worker."""


def main() -> int:
    """Run the storm; 0 if nothing was lost, doubled or changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--limit-s", type=float, default=1500.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--report", type=Path, default=None, help="also write the table here")
    parser.add_argument("--keep", action="store_true", help="keep the data folder")
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="moco-chaos-"))
    began_s = time.monotonic()
    wanted = Wanted(faults=args.faults, jobs=args.jobs, limit_s=args.limit_s)
    os.environ["OMP_NUM_THREADS"] = "1"
    with running_world(
        folder / "data", workers=args.workers, seed=seed, environment=SHORT | TWO_SLOTS
    ) as world:
        found = Storm(world, wanted, random.Random(seed), say=_say).run()
    report = table(found, seed=seed, took_s=time.monotonic() - began_s)
    print(report)
    if args.report:
        args.report.write_text(report)
    if found.is_clean and not args.keep:
        shutil.rmtree(folder)
    else:
        print(f"The data folder is kept: {folder}", file=sys.stderr)
    if not found.is_clean:
        print(json.dumps(found.faults_found, indent=1), file=sys.stderr)
    return 0 if found.is_clean else 1


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
