"""A signal: a training value in an event. What Prometheus shows of it is called a metric."""

from typing import NamedTuple


class Signal(NamedTuple):
    """What a signal means."""

    unit: str
    meaning: str
    metric: str = ""
    """Name of its metric, `moco_train_<metric>`, where a method declares it."""
