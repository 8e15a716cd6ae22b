"""Warning for views that ask for more pixels than a dataset stores, though its images had them."""

from math import ceil, sqrt

from trainer.data.spec import SIDE_PX_LIMIT
from trainer.modalities.image.spec import resolved_views
from trainer.schema.events import DatasetFacts, DataWarning, SideHistogram
from trainer.spec.resolved import ResolvedSpec

SHARE_TOLD = 0.3
"""Fraction of views enlarged from their crop above which a warning is given."""


def enlarged_views(spec: ResolvedSpec, facts: DatasetFacts) -> DataWarning | None:
    """Return the warning for a resolved spec, or None. Images that were small are no fault."""
    views = resolved_views(spec)
    side_px, stored_px = views.side_px, facts.side_px_median
    if facts.sides_sent is None:
        return None
    sent_px = _median(facts.sides_sent)
    low, high = views.crop_scale
    share = _share_below((side_px / stored_px) ** 2, low, high)
    if sent_px <= stored_px or share < SHARE_TOLD:
        return None
    wanted_px = min(ceil(side_px / sqrt(low)), sent_px, SIDE_PX_LIMIT)
    return DataWarning(
        code="views_enlarged",
        message=f"{share:.0%} of the views of {side_px} px are enlarged from smaller crops: the "
        f"dataset keeps {stored_px} px of images that had about {sent_px} px.",
        hint=f"Add the images again with --side-px-max {wanted_px}, or lower views.side_px.",
    )


def _share_below(area: float, low: float, high: float) -> float:
    """Return the share of crops, uniform in area from `low` to `high`, that are below `area`."""
    if high <= low:
        return float(area > low)
    return min(1.0, max(0.0, (area - low) / (high - low)))


def _median(sides: SideHistogram) -> int:
    """Return the lower bound of the bin that holds the median side."""
    half, counted = sum(sides.rows) / 2, 0
    for edge_px, rows in zip(sides.edges_px, sides.rows, strict=False):
        counted += rows
        if counted >= half:
            return edge_px
    return sides.edges_px[0]
