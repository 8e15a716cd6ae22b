"""Modules and symbols that were deleted, and must not come back (docs/decisions/0031)."""

import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
PACKAGES = ("mocoserve", "trainer", "service", "worker", "benchmarks")
SYMBOLS = (
    "Abreast",  # two passes side by side
    "share_with",  # the limit of threads in a pool
    "_scaled_dot_product_flash_attention_for_cpu",  # an operator that is not public
    "Laid",  # negatives as the CPU's matrix unit takes them
    "tdpbf16ps",  # its instruction
    "power_of_two",  # the exponential that its kernel needed
    "_Film",  # two recorders of graphs, each with its own parts
    "CudaTape",
    "_Route",  # a second way into POST /v1/jobs
)
MODULES = ("abreast", "tiles", "laid", "reference", "recipes", "captured", "looking")


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_no_source_names_a_deleted_symbol(symbol: str) -> None:
    word = re.compile(rf"(?<!\w){re.escape(symbol)}(?!\w)")
    sources = [path for package in PACKAGES for path in (REPO / package).rglob("*.py")]
    assert len(sources) > 300
    assert [path.name for path in sources if word.search(path.read_text())] == []


@pytest.mark.parametrize("module", MODULES)
def test_no_module_has_a_deleted_name(module: str) -> None:
    assert list(REPO.glob(f"trainer/**/{module}.py")) == []
