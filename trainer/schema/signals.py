"""A signal: a training value in an event. What Prometheus shows of it is called a metric."""

from typing import NamedTuple


class Signal(NamedTuple):
    """Unit and meaning of a signal."""

    unit: str
    meaning: str
    metric: str = ""
    """Name of its metric, `moco_train_<metric>`, where a method declares it."""


COMMON_SIGNALS: dict[str, Signal] = {
    "loss": Signal(
        "nats",
        "nats",
        "training loss; rises at first, while real keys replace random ones",
    ),
    "chance_loss": Signal("nats", "loss at chance level: ln(1 + K) for K negatives"),
    "top1": Signal("ratio", "share of queries with the positive key ranked first"),
    "top5": Signal("ratio", "share of queries with the positive key in the first five"),
    "positive_similarity": Signal("cosine", "mean similarity of queries to positives"),
    "negative_similarity": Signal("cosine", "mean similarity of queries to negatives"),
    "embedding_std_ratio": Signal("ratio", "embedding std x sqrt(d): 1 is healthy, 0 is collapsed"),
    "embedding_effective_rank": Signal(
        "dimensions", "effective rank: exp of the entropy of the singular values"
    ),
    "lr": Signal("1", "learning rate of this step"),
    "grad_norm": Signal("1", "L2 norm of the gradient"),
    "rows_per_s": Signal("rows/s", "training speed since the last reading, excluding evaluation"),
    "data_s": Signal("seconds", "spent on loading and augmentation in this attempt"),
    "step_s": Signal("seconds", "spent on optimizer steps in this attempt"),
    "eval_s": Signal("seconds", "spent on evaluation in this attempt"),
    "checkpoint_s": Signal("seconds", "spent on checkpoints in this attempt"),
    "memory_bytes": Signal("bytes", "peak memory of the device (CPU: of the process)"),
    "knn_top1": Signal("ratio", "kNN accuracy on held-out labeled images"),
    "knn_top1_raw": Signal("ratio", "baseline: kNN accuracy with raw input, at most 32 px"),
    "knn_top1_untrained": Signal("ratio", "baseline: kNN accuracy with the untrained encoder"),
    "knn_top1_majority": Signal("ratio", "baseline: accuracy of the bank's most frequent class"),
}
