"""A signal: a training value in an event. What Prometheus shows of it is called a metric."""

from typing import NamedTuple


class Signal(NamedTuple):
    """What a signal means."""

    unit: str
    meaning: str
    metric: str = ""
    """Name of its metric, `moco_train_<metric>`, where a method declares it."""


COMMON_SIGNALS: dict[str, Signal] = {
    "loss": Signal(
        "nats",
        "nats",
        "what is minimized; it rises at first, while real keys replace random ones",
    ),
    "chance_loss": Signal("nats", "the loss of guessing: ln(1 + K) for K negatives"),
    "top1": Signal("ratio", "queries whose own key is nearer than all negatives"),
    "top5": Signal("ratio", "queries whose own key is among the five nearest"),
    "positive_similarity": Signal("cosine", "mean of query and own key"),
    "negative_similarity": Signal("cosine", "mean of query and negatives"),
    "embedding_std_ratio": Signal(
        "ratio", "std of the embedding x sqrt(d): 1 healthy, 0 collapsed"
    ),
    "embedding_effective_rank": Signal("dimensions", "exp of the entropy of the singular values"),
    "lr": Signal("1", "learning rate of this step"),
    "grad_norm": Signal("1", "L2 norm of the gradient"),
    "rows_per_s": Signal("rows/s", "training speed since the last reading, evaluation left out"),
    "data_s": Signal("seconds", "spent on rows and views since the start of the attempt"),
    "step_s": Signal("seconds", "spent on optimizer steps since the start of the attempt"),
    "eval_s": Signal("seconds", "spent on evaluation since the start of the attempt"),
    "checkpoint_s": Signal("seconds", "spent on checkpoints since the start of the attempt"),
    "memory_bytes": Signal("bytes", "peak memory of the device (CPU: of the process)"),
    "knn_top1": Signal("ratio", "test rows that their nearest neighbors classify correctly"),
    "knn_top1_raw": Signal(
        "ratio", "baseline: the same by the network's input alone, at most 32 px"
    ),
    "knn_top1_untrained": Signal("ratio", "baseline: the same by the encoder before training"),
    "knn_top1_majority": Signal("ratio", "baseline: test rows of the bank's most frequent class"),
}
