"""The cost of VICReg."""

from trainer.methods.cost import HIDDEN_COPIES, MethodCost, separate_views_kept
from trainer.methods.vicreg.spec import ResolvedVICRegSpec

COVARIANCE_COPIES = 2
"""Matrices [D, D] of each view that are kept for the gradient."""


def cost(spec: ResolvedVICRegSpec, *, batch_rows: int, views: int) -> MethodCost:
    """Return the cost of a step: forward and backward of all views."""
    hidden = spec.head_hidden * (spec.head_layers - 1) + spec.dim
    return MethodCost(
        3 * views,
        views_kept=separate_views_kept(views),
        kept_passes=2,
        towers=1,
        values=HIDDEN_COPIES * views * batch_rows * hidden
        + views * COVARIANCE_COPIES * spec.dim**2,
        head_hidden=spec.head_hidden,
        head_weights=spec.projector_weights(spec.dim),
    )
