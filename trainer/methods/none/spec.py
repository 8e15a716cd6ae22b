"""No contrast: the settings, and the name in texts."""

from typing import ClassVar, Literal

from trainer.schema.base import Record
from trainer.schema.choices import BatchNormGroups, BatchNormKind
from trainer.schema.signals import Setting, Signal


class NoneSpec(Record):
    """No comparison of views: the encoder learns from the pretexts of `auxiliary` alone.

    There is no projection head: an evaluator that reads `projection` reads the encoder's output.
    """

    views_per_row: ClassVar[int] = 1
    head_has_batch_norm: ClassVar[bool] = False
    has_loss: ClassVar[bool] = False

    name: Literal["none"] = "none"
    """Method name."""
    bn: BatchNormKind = "plain"
    """`plain` computes batch norm over the batch of one process; `sync` over those of all
    processes; `split` in groups of rows, as processes do that share no statistics."""
    bn_splits: BatchNormGroups = 8
    """Number of groups for split batch norm. A batch size that is not a multiple uses fewer."""

    @property
    def batch_norm_groups(self) -> int:
        """Groups of rows that batch norm is computed in; 1: the whole batch."""
        return self.bn_splits if self.bn == "split" else 1


TITLE = "no method"
"""Name in texts."""
READING = "The loss is the sum of the losses of the pretexts, each times its weight."
"""Sentence on how to read its loss."""
SIGNALS: dict[str, Signal] = {}
"""Signals beside the common ones."""
SETTINGS: dict[str, Setting] = {}
"""Metric -> the setting that it shows."""
ADVICE: dict[str, str] = {}
"""Phase of a step -> what makes it shorter, with the method's settings in braces."""
