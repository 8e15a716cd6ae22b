"""The cost of BYOL."""

from trainer.methods.byol.spec import ResolvedBYOLSpec
from trainer.methods.cost import HIDDEN_COPIES, MethodCost, separate_views_kept


def cost(spec: ResolvedBYOLSpec, *, batch_rows: int, views: int) -> MethodCost:
    """Return the cost of a step: all views with a gradient, and all without one."""
    hidden = spec.head_hidden * (spec.head_layers - 1) + spec.predictor_hidden
    return MethodCost(
        4 * views,
        views_kept=separate_views_kept(views),
        kept_passes=2,
        towers=2,
        values=HIDDEN_COPIES * views * batch_rows * hidden,
        head_hidden=spec.head_hidden,
        head_weights=spec.projector_weights(spec.dim) + 2 * spec.dim * spec.predictor_hidden,
    )
