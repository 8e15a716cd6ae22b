"""The cost of MoCo v3."""

from trainer.methods.cost import HIDDEN_COPIES, MethodCost, separate_views_kept
from trainer.methods.moco_v3.spec import ResolvedMoCoV3Spec

LOGIT_COPIES = 4
"""Logits [B, B] of both orders, as they are and masked."""


def cost(spec: ResolvedMoCoV3Spec, *, batch_rows: int, views: int) -> MethodCost:
    """Return the cost of a step: both views with a gradient, and both without one."""
    hidden = spec.head_hidden * (spec.head_layers - 1) + spec.predictor_hidden
    logits = LOGIT_COPIES * batch_rows**2 + spec.queue_rows * (spec.dim + batch_rows)
    return MethodCost(
        8,
        views_kept=separate_views_kept(views),
        kept_passes=2,
        towers=2,
        values=HIDDEN_COPIES * 2 * batch_rows * hidden + logits,
        head_hidden=spec.head_hidden,
        head_weights=spec.projector_weights(spec.dim) + 2 * spec.dim * spec.predictor_hidden,
    )
