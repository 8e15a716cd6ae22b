"""The cost of NNCLR."""

from trainer.methods.cost import HIDDEN_COPIES, SEPARATE_VIEWS_KEPT, MethodCost
from trainer.methods.nnclr.spec import ResolvedNNCLRSpec


def cost(spec: ResolvedNNCLRSpec, *, batch_rows: int) -> MethodCost:
    """Return the cost of a step: forward and backward of both views."""
    hidden = spec.head_hidden * (spec.head_layers - 1) + spec.predictor_hidden
    similarities = spec.queue_rows * (spec.dim + batch_rows)
    return MethodCost(
        6,
        views_kept=SEPARATE_VIEWS_KEPT,
        kept_passes=2,
        towers=1,
        values=HIDDEN_COPIES * 2 * batch_rows * hidden + similarities,
        head_hidden=spec.head_hidden,
        head_weights=spec.projector_weights(spec.dim) + 2 * spec.dim * spec.predictor_hidden,
    )
