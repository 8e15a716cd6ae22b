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

ONCE = (
    "def die_with",  # a child's end with its parent, in worker and command line before
    "_MAGICS:",  # first bytes of image formats, in trainer and service before
    '"upload.part"',
)
"""Text that stood in several modules and stands in one."""


def sources_with(pattern: str) -> list[str]:
    sources = [path for package in PACKAGES for path in (REPO / package).rglob("*.py")]
    assert len(sources) > 300
    return [str(path.relative_to(REPO)) for path in sources if re.search(pattern, path.read_text())]


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_no_source_names_a_deleted_symbol(symbol: str) -> None:
    assert sources_with(rf"(?<!\w){re.escape(symbol)}(?!\w)") == []


@pytest.mark.parametrize("text", ONCE)
def test_one_module_has_what_several_had(text: str) -> None:
    assert len(sources_with(re.escape(text))) == 1


@pytest.mark.parametrize("module", MODULES)
def test_no_module_has_a_deleted_name(module: str) -> None:
    assert list(REPO.glob(f"trainer/**/{module}.py")) == []
