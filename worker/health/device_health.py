"""Health of the devices: a slot whose GPU fails again and again takes no more jobs."""

import logging
import threading
from collections import Counter

from worker.attempt.decision import DEVICE, Decision
from worker.slots import SlotPool

LOG = logging.getLogger(__name__)
FAILURES_MAX = 2
"""Attempts in a row that may end with a device error; after the last one the slot is drained."""


class DeviceHealth:
    """Count device errors, and drain what is most likely broken. Safe to use from several threads.

    An attempt in one slot tells which GPU failed. One in several slots does not: after two of those
    in a row, all slots are drained. An operator undrains them after the repair.
    """

    def __init__(self, slots: SlotPool) -> None:
        self._slots = slots
        self._in_a_row: Counter[tuple[str, ...]] = Counter()
        self._lock = threading.Lock()

    def record(self, devices: tuple[str, ...], decision: Decision) -> None:
        """Record how an attempt on these devices ended."""
        suspects = devices if len(devices) == 1 else self._slots.devices
        with self._lock:
            failures = self._in_a_row[suspects] + 1 if decision.code == DEVICE else 0
            self._in_a_row[suspects] = failures % FAILURES_MAX
        if failures < FAILURES_MAX:
            return
        for device in dict.fromkeys(suspects):
            self._slots.drain(device, decision.message)
        LOG.error(
            "%s: no more jobs after %d device errors in a row. Repair it, then `moco workers "
            "undrain` this worker. The last error: %s",
            *(", ".join(dict.fromkeys(suspects)), FAILURES_MAX, decision.message),
        )
