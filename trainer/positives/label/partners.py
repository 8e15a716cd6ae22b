"""Partners of the same label."""

import numpy as np

from trainer.positives.base import PartnerData
from trainer.positives.groups import GroupedRows
from trainer.positives.label.defaults import one_label
from trainer.spec.resolved import ResolvedSpec


def partners(spec: ResolvedSpec, data: PartnerData) -> GroupedRows:
    """Return partners by label. Raises SpecError if the rows to train on have a single label."""
    if len(np.unique(data.labels[data.labels >= 0])) < 2:
        raise one_label("the labels that training may use are all the same")
    return GroupedRows(data.labels, seed=spec.seed)
