"""The cost of classification."""

from trainer.methods.classification.spec import ClassificationSpec
from trainer.methods.cost import MethodCost
from trainer.spec.rules import filled

LOGIT_COPIES = 3
"""Logits [B, classes], as log-probabilities, and their gradient."""


def cost(spec: ClassificationSpec, *, batch_rows: int, views: int) -> MethodCost:
    """Return the cost of a step of one view: without a backward pass if the encoder is frozen.

    An encoder that is frozen for some epochs is counted as one that learns.
    """
    del views
    is_frozen = spec.freeze is True
    return MethodCost(
        1 if is_frozen else 3,
        views_kept=0 if is_frozen else 1,
        towers=1,
        values=LOGIT_COPIES * batch_rows * filled(spec.classes),
    )
