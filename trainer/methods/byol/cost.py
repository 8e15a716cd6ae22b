"""The cost of BYOL."""

from trainer.methods.byol.spec import ResolvedBYOLSpec
from trainer.methods.cost import HIDDEN_COPIES, SEPARATE_VIEWS_KEPT, MethodCost


def cost(spec: ResolvedBYOLSpec, *, batch_rows: int) -> MethodCost:
    """Return the cost of a step: both views with a gradient, and both without one."""
    hidden = spec.head_hidden * (spec.head_layers - 1) + spec.predictor_hidden
    return MethodCost(
        8,
        views_kept=SEPARATE_VIEWS_KEPT,
        kept_passes=2,
        towers=2,
        values=HIDDEN_COPIES * 2 * batch_rows * hidden,
        head_hidden=spec.head_hidden,
        head_weights=spec.projector_weights(spec.dim) + 2 * spec.dim * spec.predictor_hidden,
    )
