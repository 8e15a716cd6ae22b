"""The table of classifiers from few labels: its arithmetic."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.data.image_sets import ImageSet
from benchmarks.suites import finetune
from benchmarks.suites.finetune import Pair, Sets


def test_a_row_is_the_mean_gain_of_its_epochs_with_students_interval() -> None:
    half = ImageSet("half", Path("images"), Path("pack"), 898)
    gains = [0.1, 0.14, 0.09]
    pairs = [Pair(20, seed, 0.8 + gain, 0.8) for seed, gain in enumerate(gains)]
    pairs += [Pair(100, seed, 0.9, 0.95) for seed in range(3)]
    args = Namespace(epochs=[20, 100], labels_per_class=5)
    lines = finetune.section(Sets(half, half), pairs, args).lines
    low, high = stats.t.interval(0.95, df=2, loc=np.mean(gains), scale=stats.sem(gains))
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells[:4] == ["20", "0.910", "0.800", "+0.110"]
    ends = [float(end) for end in cells[4].split(" to ")]
    assert ends == [pytest.approx(low, abs=6e-4), pytest.approx(high, abs=6e-4)]
    assert "| 100 | 0.900 | 0.950 | -0.050 |" in lines[3]
    assert "5 labels per class" in lines[-1]
