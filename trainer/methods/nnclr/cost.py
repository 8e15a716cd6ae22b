"""The cost of NNCLR."""

from trainer.methods.cost import HIDDEN_COPIES, MethodCost, separate_views_kept
from trainer.methods.nnclr.spec import ResolvedNNCLRSpec

GRADIENT_COPIES = 1.5
"""Gradient of the widest layer from one view, in bf16 and fp32, before it is added to the other."""


def cost(spec: ResolvedNNCLRSpec, *, batch_rows: int, views: int) -> MethodCost:
    """Return the cost of a step: forward and backward of both views."""
    hidden = spec.head_hidden * (spec.head_layers - 1) + spec.predictor_hidden
    widest = spec.head_hidden**2 if spec.head_layers > 2 else 0
    similarities = spec.queue_rows * (spec.dim + batch_rows)
    return MethodCost(
        6,
        views_kept=separate_views_kept(views),
        kept_passes=2,
        towers=1,
        values=HIDDEN_COPIES * 2 * batch_rows * hidden + similarities + GRADIENT_COPIES * widest,
        head_hidden=spec.head_hidden,
        head_weights=spec.projector_weights(spec.dim) + 2 * spec.dim * spec.predictor_hidden,
    )
