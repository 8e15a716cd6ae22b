"""Settings that libgomp reports in a process that loads torch as the trainer's main does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.accel.openmp import SPINS, VARIABLES

ROOT = Path(__file__).parents[2]


def spins(**settings: str) -> int:
    """Return the number of spins of a waiting thread of torch before it sleeps."""
    env = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    env |= {"OMP_DISPLAY_ENV": "VERBOSE", "PYTHONPATH": str(ROOT)} | settings
    words = [sys.executable, "-c", "import trainer.accel.openmp, torch"]
    told = subprocess.run(words, env=env, stderr=subprocess.PIPE, text=True, check=True).stderr
    found = re.search(r"GOMP_SPINCOUNT = '(\w+)'", told)
    if found is None:
        pytest.skip("this torch has threads of another library than libgomp")
    return int(found[1])


def test_threads_that_wait_spin_a_moment_and_sleep() -> None:
    assert spins() == SPINS


def test_who_has_set_a_variable_has_decided() -> None:
    assert spins(GOMP_SPINCOUNT="7") == 7
    assert spins(OMP_WAIT_POLICY="ACTIVE") > 1_000_000
    assert spins(OMP_WAIT_POLICY="PASSIVE") == 0
