"""Counts cases anew and stores the figures: `python -m tests.support.pretend_gpu [NAME ...]`."""

import sys
import tempfile
from pathlib import Path

import torch

from tests.support.pretend_gpu import stored
from tests.support.pretend_gpu.cases import CASES
from tests.support.pretend_gpu.run import run


def main(names: list[str]) -> None:
    """Run the cases of these names and those not stored yet, or all; print each; write the file."""
    version, before = stored.load()
    if names and version != torch.__version__:
        sys.exit(f"The file is of torch {version}, this is {torch.__version__}: name no cases.")
    counted: dict[str, stored.Figures] = {}
    for case in CASES:
        if names and case.name not in names and str(case) in before:
            counted[str(case)] = before[str(case)]
            continue
        with tempfile.TemporaryDirectory() as folder:
            counted[str(case)] = stored.figures(run(case, Path(folder)))
        print(f"{case}: {counted[str(case)]}", flush=True)
    stored.save(counted)


if __name__ == "__main__":
    main(sys.argv[1:])
