"""The cost of no contrast."""

from trainer.methods.cost import MethodCost
from trainer.methods.none.spec import NoneSpec


def cost(spec: NoneSpec, *, batch_rows: int, views: int) -> MethodCost:
    """Return the cost of a step: one view without a gradient."""
    del spec, batch_rows, views
    return MethodCost(1, views_kept=0, towers=1, values=0, kept_passes=0)
