"""Memory that the kernel counts for a process that keeps what it freed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
STORY = """
import json, resource
from pathlib import Path

import numpy as np

from trainer.accel.malloc import keep_freed_memory

def kept(field):
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))

def step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(64 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = kept("Rss:")
if {keeps}:
    keep_freed_memory()
taken = kept("Rss:") - before
faults = [step() for _ in range(3)]
held = np.ones(64 << 20, np.uint8)
print(json.dumps({{"taken": taken, "faults": faults, "large": kept("AnonHugePages:")}}))
"""


def told(*, keeps: bool) -> dict[str, int | list[int]]:
    done = subprocess.run(
        [sys.executable, "-c", STORY.format(keeps=keeps)],
        capture_output=True,
        check=True,
        timeout=60,
        text=True,
    )
    found: dict[str, int | list[int]] = json.loads(done.stdout)
    return found


def test_a_step_finds_the_memory_of_the_one_before() -> None:
    kept, given_back = told(keeps=True), told(keeps=False)
    assert isinstance(kept["faults"], list)
    assert isinstance(given_back["faults"], list)
    assert sum(kept["faults"][1:]) < 100
    assert sum(given_back["faults"][1:]) > 1000, "else this test says nothing"
    assert isinstance(kept["taken"], int)
    assert kept["taken"] < 4 << 20, "the room is of addresses, not of memory"


def test_it_is_in_large_pages_where_the_kernel_has_them() -> None:
    if not LARGE_PAGES.exists() or "[never]" in LARGE_PAGES.read_text():
        pytest.skip("this kernel gives no large pages")
    kept = told(keeps=True)
    assert isinstance(kept["large"], int)
    assert kept["large"] >= 16 << 20, "of 64 MB: memory that is in pieces has fewer to give"
