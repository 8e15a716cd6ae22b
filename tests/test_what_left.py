"""Modules and symbols that were deleted, and must not come back (docs/decisions/0031)."""

import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
PACKAGES = ("mocoserve", "trainer", "service", "worker", "benchmarks")
SYMBOLS = (
    "Abreast",
    "share_with",
    "_scaled_dot_product_flash_attention_for_cpu",
    "Laid",
    "tdpbf16ps",
    "_Route",
    "direct_route",
)
MODULES = ("abreast", "tiles", "laid")


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_no_source_names_a_deleted_symbol(symbol: str) -> None:
    word = re.compile(rf"(?<!\w){re.escape(symbol)}(?!\w)")
    sources = [path for package in PACKAGES for path in (REPO / package).rglob("*.py")]
    assert len(sources) > 300
    assert [path.name for path in sources if word.search(path.read_text())] == []


@pytest.mark.parametrize("module", MODULES)
def test_no_module_has_a_deleted_name(module: str) -> None:
    assert list(REPO.glob(f"trainer/**/{module}.py")) == []
