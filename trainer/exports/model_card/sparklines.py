"""Curves of a run as lines of text."""

import math
from collections.abc import Sequence
from itertools import pairwise

from trainer.evaluators.registry import SIGNALS
from trainer.pretexts.registry import SIGNALS as PRETEXT_SIGNALS
from trainer.schema.verdicts import BASELINES

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40

Line = dict[str, float]

CURVES: tuple[tuple[str, str], ...] = (
    ("loss", "loss (nats)"),
    ("top1", "pretext top-1"),
    ("knn_top1", "kNN top-1"),
    *((signal, f"kNN top-1, {name}") for name, signal in BASELINES.items()),
    *((name, signal.meaning) for name, signal in SIGNALS.items() if not name.startswith("knn_")),
    *((name, signal.meaning) for name, signal in PRETEXT_SIGNALS.items()),
    ("positive_similarity", "positive similarity"),
    ("negative_similarity", "negative similarity"),
    ("embedding_std_ratio", "embedding std x sqrt(d)"),
    ("embedding_effective_rank", "effective rank"),
    ("key_encoder_distance_ratio", "key encoder distance"),
    ("lr", "learning rate"),
)
"""Signals worth a line, by name. None of them depends on the speed of the machine."""


def sparkline(values: Sequence[float], *, width: int = WIDTH) -> str:
    """At most `width` bars from the lowest to the highest value; a bar is a mean of neighbours."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    count = min(width, len(finite))
    edges = [round(number * len(finite) / count) for number in range(count + 1)]
    means = [math.fsum(finite[low:high]) / (high - low) for low, high in pairwise(edges)]
    low, high = min(means), max(means)
    span = high - low or 1.0
    return "".join(BARS[min(7, int(8 * (mean - low) / span))] for mean in means)


def table(history: Sequence[Line]) -> list[str]:
    """Markdown: one row a signal with its first, lowest, highest and last value and its curve."""
    lines = ["| signal | first | lowest | highest | last | curve |", "|---|--:|--:|--:|--:|---|"]
    for signal, title in CURVES:
        values = [line[signal] for line in history if signal in line]
        if values:
            numbers = (values[0], min(values), max(values), values[-1])
            cells = " | ".join(number(value) for value in numbers)
            lines.append(f"| {title} | {cells} | `{sparkline(values)}` |")
    return lines


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"
