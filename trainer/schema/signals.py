"""A signal: a training value in an event. What Prometheus shows of it is called a metric."""

from typing import Literal, NamedTuple


class Signal(NamedTuple):
    """Unit and meaning of a signal."""

    unit: str
    meaning: str
    metric: str = ""
    """Name of its metric, `moco_train_<metric>`; empty: it has none."""
    better: Literal["up", "down", ""] = ""
    """Direction in which it gets better; empty: it has none."""
    fills: str = ""
    """Thing that fills while this ratio is below 1 and a rising loss is normal; empty: none."""


class Setting(NamedTuple):
    """A setting of a method that is a metric of its running jobs."""

    field: str
    """Field of the method's spec."""
    meaning: str


COMMON_SIGNALS: dict[str, Signal] = {
    "loss": Signal(
        "nats",
        "training loss; with a queue it rises at first, while real keys replace random ones",
        "loss",
    ),
    "chance_loss": Signal(
        "nats", "loss of guessing: ln of the number of keys to choose from", "chance_loss"
    ),
    "contrast_loss": Signal(
        "nats", "loss of the method without its pretexts, where there are any", "contrast_loss"
    ),
    "top1": Signal(
        "ratio", "share of queries with the positive key ranked first", "contrastive_top1_ratio"
    ),
    "top5": Signal(
        "ratio",
        "share of queries with the positive key in the first five",
        "contrastive_top5_ratio",
    ),
    "positive_similarity": Signal(
        "cosine", "mean similarity of queries to positives", "positive_similarity"
    ),
    "negative_similarity": Signal(
        "cosine", "mean similarity of queries to negatives", "negative_similarity"
    ),
    "embedding_std_ratio": Signal(
        "ratio", "embedding std x sqrt(d): 1 is healthy, 0 is collapsed", "embedding_std_ratio"
    ),
    "embedding_effective_rank": Signal(
        "dimensions",
        "effective rank: exp of the entropy of the singular values",
        "embedding_effective_rank",
    ),
    "lr": Signal("1", "learning rate of this step", "learning_rate"),
    "grad_norm": Signal("1", "L2 norm of the gradient", "grad_norm"),
    "rows_per_s": Signal("rows/s", "training speed since the last reading, excluding evaluation"),
    "data_s": Signal(
        "seconds",
        "time spent on loading and augmentation in this attempt",
        "data_wait_seconds_total",
    ),
    "step_s": Signal(
        "seconds", "time spent on optimizer steps in this attempt", "step_seconds_total"
    ),
    "eval_s": Signal("seconds", "time spent on evaluation in this attempt", "eval_seconds_total"),
    "checkpoint_s": Signal(
        "seconds",
        "time that checkpoints blocked training in this attempt",
        "checkpoint_blocked_seconds_total",
    ),
    "memory_bytes": Signal(
        "bytes", "peak memory of the device (CPU: of the process)", "memory_peak_bytes"
    ),
}
"""Signals of every method."""
