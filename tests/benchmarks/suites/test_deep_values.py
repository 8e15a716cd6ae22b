"""The slices of the benchmark of ranges, a few of them."""

from pathlib import Path

import numpy as np

from benchmarks.suites.deep_values import ingest_slices, slices, write_slices


def test_most_values_lie_in_a_small_part_of_the_range(tmp_path: Path) -> None:
    write_slices(tmp_path / "in", seed=1, count=6)
    auto = ingest_slices(tmp_path / "in", tmp_path / "auto", "auto")
    window = ingest_slices(tmp_path / "in", tmp_path / "window", "860:1260")
    assert (auto.rows, auto.channels, auto.labels) == (24, 1, tuple(f"class{n}" for n in range(4)))
    assert {one.code for one in auto.warnings} == {"narrow_content", "little_range"}
    assert window.warnings == ()
    images, _ = slices(seed=1, count=6)
    low, high = np.percentile(images, [0.1, 99.9])
    assert auto.values is not None
    assert (auto.values.low, auto.values.high) == (low, high)
    seen = ((images - 860.0) / 400).clip(0, 1)
    assert abs(window.std[0] - float(seen.std())) < 1e-9
