"""Memory that the kernel counts for a process that keeps what it freed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.accel import malloc
from trainer.accel.malloc import set_up_allocators

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


@pytest.mark.parametrize(
    ("device", "has_gpu", "is_for_cpu"),
    [
        ("cpu", True, True),
        ("auto", False, True),
        ("auto", True, False),
        ("cuda", True, False),
        ("cuda:1", True, False),
    ],
)
def test_the_c_library_keeps_memory_for_jobs_on_a_cpu_alone(
    monkeypatch: pytest.MonkeyPatch, device: str, *, has_gpu: bool, is_for_cpu: bool
) -> None:
    calls: list[str] = []
    environment: dict[str, str] = {}
    monkeypatch.setattr(malloc, "keep_freed_memory", lambda: calls.append("kept"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_gpu)
    monkeypatch.setattr("os.environ", environment)
    set_up_allocators(device)
    expandable = {} if is_for_cpu else {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    assert (calls == ["kept"]) == is_for_cpu
    assert environment == expandable


@pytest.mark.parametrize("name", ["PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_a_worker_whose_owner_has_set_torchs_allocator_keeps_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    environment = {name: "max_split_size_mb:64"}
    monkeypatch.setattr("os.environ", environment)
    set_up_allocators("cuda:0")
    assert environment == {name: "max_split_size_mb:64"}


def test_torch_reads_its_variable_after_its_import() -> None:
    """A forked child has imported torch long before it knows that it is for a GPU."""
    code = (
        "import torch; from trainer.accel.malloc import set_up_allocators\n"
        "set_up_allocators('cuda:0'); print(torch._C._accelerator_getAllocatorSettings())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, timeout=120, text=True
    )
    assert done.stdout.strip() == "expandable_segments:True"
