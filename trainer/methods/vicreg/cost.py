"""The cost of VICReg."""

from trainer.methods.cost import HIDDEN_COPIES, SEPARATE_VIEWS_KEPT, MethodCost
from trainer.methods.vicreg.spec import ResolvedVICRegSpec

COVARIANCE_COPIES = 2
"""Matrices [D, D] of each view that are kept for the gradient."""


def cost(spec: ResolvedVICRegSpec, *, batch_rows: int) -> MethodCost:
    """Return the cost of a step: forward and backward of both views."""
    hidden = spec.head_hidden * (spec.head_layers - 1) + spec.dim
    return MethodCost(
        6,
        views_kept=SEPARATE_VIEWS_KEPT,
        kept_passes=2,
        towers=1,
        values=HIDDEN_COPIES * 2 * batch_rows * hidden + 2 * COVARIANCE_COPIES * spec.dim**2,
        head_hidden=spec.head_hidden,
        head_weights=spec.projector_weights(spec.dim),
    )
