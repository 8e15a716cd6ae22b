"""The settings of Momentum Contrast, versions 1 and 2."""

from typing import Annotated, Literal

from pydantic import Field

from trainer.schema.base import Record
from trainer.schema.signals import Signal


class MoCoSpec(Record):
    """Momentum Contrast with a queue of negatives (arXiv:1911.05722, arXiv:2003.04297)."""

    name: Literal["moco"] = "moco"
    """Which method."""
    queue_rows: Annotated[int, Field(ge=1, le=2**20)] | None = None
    """Negatives kept, K, in rows. The batch need not divide it. Left out: from the rows."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    """m of the key encoder, theta_k <- m theta_k + (1 - m) theta_q. Left out: from K."""
    temperature: Annotated[float, Field(gt=0.0, le=10.0)] | None = None
    """T of InfoNCE, unitless. Left out: from the image side."""
    dim: Annotated[int, Field(ge=2, le=4096)] = 128
    """Width of the query and key embeddings."""
    head: Literal["linear", "mlp"] | None = None
    """`linear` is version 1; `mlp` (features-ReLU-dim) is version 2. Left out: from the side."""
    symmetric: bool = False
    """Use each view once as query and once as key, and add both losses."""
    bn: Literal["split", "plain"] = "split"
    """`split` computes batch norm in groups, which stops the batch from leaking the answer."""
    bn_splits: Annotated[int, Field(ge=1, le=64)] = 8
    """Groups of a split batch norm. A batch that they do not divide uses fewer."""
    mask_own_keys: bool = True
    """Leave a row's own older keys out of its negatives."""
    negatives_start: Literal["random", "empty"] = "random"
    """`random` is the paper's: K unit vectors. `empty` counts only keys that were pushed."""

    @property
    def batch_norm_groups(self) -> int:
        """Groups of rows that the encoder's batch norm is computed in; 1: the whole batch."""
        return self.bn_splits if self.bn == "split" else 1


TITLE = "Momentum Contrast"
"""Name in texts."""
SIGNALS = {
    "negatives_fill_ratio": Signal(
        "ratio", "share of the NegativeQueue that real keys fill", "queue_filled_ratio"
    ),
    "oldest_key_age_steps": Signal(
        "steps", "age of the oldest key among the negatives", "queue_oldest_key_age_steps"
    ),
    "queue_dataset_ratio": Signal(
        "ratio", "K / N; above 1 rows meet their own old keys", "queue_dataset_ratio"
    ),
    "key_encoder_distance_ratio": Signal(
        "ratio",
        "|theta_q - theta_k| / |theta_q|: how far the key encoder lags",
        "key_encoder_distance_ratio",
    ),
}
"""Signals beside the common ones."""
SETTINGS = {
    "queue_size": "queue_rows",
    "key_momentum_ratio": "momentum",
    "temperature": "temperature",
}
"""Metric of a setting -> its field."""
ADVICE = {
    "loss": "a shorter queue, with `method.queue_rows` below {queue_rows}, makes every step shorter"
}
"""Phase of a step -> what makes it shorter, with the method's settings in braces."""
