"""Triton's kernels in the machine code of GPUs that are not there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="Triton is not installed")

ROOT = Path(__file__).parents[5]
LAUNCHES = 2 * (2 * 7 + 4)
"""In two precisions: a batch norm and its gradients with and without what is added, and views."""
SUMS = {"measure", "sum_gradients"}
PIXELWISE = {"normalise", "spread_gradients"}
ATOMIC = re.compile(r"^\s*(atom|red)\.", re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "capability",
    [
        90,
        pytest.param(80, marks=pytest.mark.contract),
        pytest.param(89, marks=pytest.mark.contract),
        pytest.param(100, marks=pytest.mark.contract),
        pytest.param(120, marks=pytest.mark.contract),
    ],
)
def test_kernels_compile_without_atomics_and_spills(capability: int) -> None:
    """The batch norm reads and writes 16 bytes at once for each thread."""
    kernels = compiled(capability)
    assert len(kernels) == LAUNCHES
    for kernel in kernels:
        name, ptx = kernel["name"], kernel["ptx"]
        assert kernel["spilled_bytes"] == 0, name
        assert kernel["registers"] <= 128, name
        assert not ATOMIC.search(ptx), name
        if name in SUMS | PIXELWISE:
            assert "ld.global.v4.b32" in ptx, name
        if name in PIXELWISE:
            assert "st.global.v4.b32" in ptx, name


def compiled(capability: int) -> list[dict[str, Any]]:
    """Compile in a process of its own: this one may have Triton as an interpreter."""
    found = subprocess.run(
        [sys.executable, "-m", "tests.support.triton_offline", str(capability)],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-2000:]
    kernels: list[dict[str, Any]] = json.loads(found.stdout)
    return kernels
