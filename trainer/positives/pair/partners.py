"""Partners of one pair."""

import numpy as np

from trainer.positives.base import PartnerData
from trainer.positives.groups import GroupedRows
from trainer.positives.pair.defaults import no_pairs
from trainer.spec.resolved import ResolvedSpec


def partners(spec: ResolvedSpec, data: PartnerData) -> GroupedRows:
    """Return partners by pair. Raises SpecError if no row has one among those trained on."""
    if data.pack.pair is None:
        raise no_pairs()
    rows = GroupedRows(np.where(data.trained, data.pack.pair, np.int32(-1)), seed=spec.seed)
    if not rows.has_pairs:
        raise no_pairs()
    return rows
