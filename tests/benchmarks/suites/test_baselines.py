"""The table of a default job beside its baselines: its arithmetic, and one tiny run."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from benchmarks.suites import baselines


def test_the_interval_is_students() -> None:
    values = [0.966, 0.955, 0.949]
    scale = stats.sem(values)
    expected = stats.t.interval(0.95, df=2, loc=np.mean(values), scale=scale)
    assert baselines.interval(values) == pytest.approx(expected)
    assert baselines.interval([0.5]) == (float("-inf"), float("inf"))


def test_a_run_is_stopped_at_its_epoch_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "in" / label).mkdir(parents=True)
        for number in range(16):
            pixels = draw.integers(0, 256, (12, 12, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "in" / label / f"{number}.png")
    out = tmp_path / "out"
    words = f"--data {tmp_path / 'in'} --seeds 1 --until-epoch 1 --threads 1 --out {out}"
    monkeypatch.setattr(sys, "argv", ["x", *words.split()])
    baselines.main()
    page = (out / "RESULTS.md").read_text()
    assert "after epoch 1 of" in page
    for name in baselines.SIGNALS:
        assert f"| {name} |" in page
