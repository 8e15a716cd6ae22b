"""The settings of classification, and its name, signals and advice in texts."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trainer.schema.base import Record
from trainer.schema.choices import BatchNormGroups, BatchNormKind
from trainer.schema.signals import Setting, Signal


class ClassificationSpec(Record):
    """Cross-entropy of a head's answers with the labels: the method of jobs of kind `finetune`.

    Trains on labeled images alone, on one view of each. Images whose label is held out for the
    evaluation are not trained on.
    """

    job_kind: ClassVar[str] = "finetune"
    learns_labels: ClassVar[bool] = True
    views_per_row: ClassVar[int] = 1
    head_has_batch_norm: ClassVar[bool] = False

    name: Literal["classification"] = "classification"
    """Method name."""
    head: Literal["linear", "mlp"] = "linear"
    """Head on the encoder's output: one layer, or two with a ReLU between them (the hidden one as
    wide as the output of the encoder). No batch norm: few labels make small batches."""
    freeze: bool | Annotated[int, Field(ge=1, le=100_000)] = False
    """True: only the head learns. A number: only the head learns for that number of epochs. While
    frozen, the encoder is in eval mode: neither its weights nor its batch norm statistics change.
    """
    class_weights: Literal["balanced"] | None = None
    """`balanced`: each class has the same weight in the loss, however many images it has. Default:
    each image has the same weight."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of each label that is spread evenly over all classes."""
    labels_per_class: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Number of images of each class to train on, drawn by the job's seed. Default: all that have a
    label."""
    classes: Annotated[int, Field(ge=2, le=100_000)] | None = None
    """Number of classes. Default: that of the dataset's labels, the only one that fits."""
    bn: BatchNormKind = "plain"
    """`plain` computes batch norm over the batch of one process; `sync` over those of all
    processes; `split` in groups of rows, as processes do that share no statistics."""
    bn_splits: BatchNormGroups = 8
    """Number of groups for split batch norm. A batch size that is not a multiple uses fewer."""

    @property
    def batch_norm_groups(self) -> int:
        """Groups of rows that batch norm is computed in; 1: all."""
        return self.bn_splits if self.bn == "split" else 1

    @property
    def dim(self) -> int | None:
        """Numbers of each image that ranks exchange: one for each class."""
        return self.classes


class ResolvedClassificationSpec(ClassificationSpec):
    """Classification with every value."""

    classes: int


TITLE = "Classification"
"""Name in texts."""
READING = "The loss of a healthy run falls from the start, toward 0."
"""Sentence on how to read its loss."""
SIGNALS = {
    "train_accuracy_ratio": Signal(
        "ratio",
        "share of the batch's augmented images that are classified correctly",
        "train_accuracy_ratio",
    ),
}
"""Signals beside the common ones."""
SETTINGS = {
    "label_smoothing": Setting("label_smoothing", "share of a label spread over all classes")
}
"""Metric -> the setting that it shows."""
ADVICE = {"loss": "use a smaller `batch_rows`"}
"""Phase of a step -> what makes it shorter, with the method's settings in braces."""
