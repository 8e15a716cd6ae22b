"""Counts every case anew and stores the figures: `python -m tests.support.pretend_gpu`."""

import tempfile
from pathlib import Path

from tests.support.pretend_gpu.cases import CASES
from tests.support.pretend_gpu.run import run
from tests.support.pretend_gpu.stored import Figures, figures, save


def main() -> None:
    """Run all cases, print one line each, write the file."""
    counted: dict[str, Figures] = {}
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            counted[str(case)] = figures(run(case, Path(folder)))
        print(f"{case}: {counted[str(case)]}", flush=True)
    save(counted)


if __name__ == "__main__":
    main()
