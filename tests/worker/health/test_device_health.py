import pytest

from worker.attempt.decision import Decision
from worker.health.device_health import DeviceHealth
from worker.slots import SlotPool

BROKEN = Decision("release", "device", "Xid 79.")
LOST = Decision("release", "worker_lost", "Killed.")
GOOD = Decision("complete")


@pytest.mark.parametrize(
    ("decisions", "drained"),
    [
        ([BROKEN], set()),
        ([BROKEN, GOOD, BROKEN], set()),
        ([BROKEN, LOST, BROKEN], set()),
        ([GOOD, BROKEN, BROKEN], {"GPU-a"}),
    ],
)
def test_two_in_a_row_drain_the_gpu_of_the_slot(
    decisions: list[Decision], drained: set[str]
) -> None:
    slots = SlotPool(["GPU-a", "GPU-b"])
    health = DeviceHealth(slots)
    for decision in decisions:
        health.record(("GPU-a",), decision)
        health.record(("GPU-b",), GOOD)  # another slot counts by itself
    assert set(slots.drained) == drained


def test_two_jobs_of_several_gpus_in_a_row_drain_the_worker() -> None:
    """Any of their GPUs may be the broken one."""
    slots = SlotPool(["GPU-a", "GPU-b", "GPU-c", "GPU-d"])
    health = DeviceHealth(slots)
    health.record(("GPU-a", "GPU-b"), BROKEN)
    health.record(("GPU-c",), BROKEN)
    assert not slots.drained
    health.record(("GPU-c", "GPU-d"), BROKEN)
    assert slots.drained == dict.fromkeys(slots.devices, "Xid 79.")
    assert len(slots) == 0


def test_after_an_undrain_it_takes_two_again() -> None:
    slots = SlotPool(["GPU-a"])
    health = DeviceHealth(slots)
    for _ in range(2):
        health.record(("GPU-a",), BROKEN)
        assert not slots.drained
        health.record(("GPU-a",), BROKEN)
        assert slots.drained
        slots.undrain()
