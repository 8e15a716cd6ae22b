import os
from collections.abc import Iterable

import pytest

from worker.slots import SlotPool, device_label, slot_devices, threads_of_a_slot

GPUS = tuple(f"GPU-{letter}" for letter in "abcdefgh")


@pytest.mark.parametrize(
    ("gpus", "names", "count", "devices"),
    [
        (GPUS, "auto", None, GPUS),
        (GPUS, "auto", 2, GPUS[:2]),  # MOCO_SLOTS, or `moco up --workers 2`
        (GPUS, "auto", 9, (*GPUS, "GPU-a")),  # more than there are: two share one
        (GPUS[:2], "cuda:0,cuda:1", 4, ("GPU-a", "GPU-b", "GPU-a", "GPU-b")),
        ((), "auto", None, ("cpu",)),
        ((), "auto", 2, ("cpu", "cpu")),
        ((), "cpu", 3, ("cpu", "cpu", "cpu")),
        ((), "cpu,cpu", None, ("cpu", "cpu")),
    ],
)
def test_each_device_is_a_slot_unless_a_number_is_given(
    gpus: tuple[str, ...], names: str, count: int | None, devices: tuple[str, ...]
) -> None:
    assert slot_devices(gpus, names=names, count=count) == devices


@pytest.mark.parametrize(
    ("cards", "label"),
    [
        ([], "cpu"),
        ([1], "cuda:1"),
        (range(8), "cuda:0-7"),
        ([2, 0, 0], "cuda:0,2"),
        ([0, 0], "cuda:0"),  # two MIG instances
        ([-1], "cuda"),
    ],
)
def test_devices_are_shown_as_the_machine_numbers_them(cards: Iterable[int], label: str) -> None:
    assert device_label(cards) == label


def test_slots_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(6)))
    assert [threads_of_a_slot(slots) for slots in (2, 3, 8)] == [3, 2, 1]
    assert threads_of_a_slot(1) is None  # one process alone has all of them


def test_no_two_jobs_hold_the_same_slot() -> None:
    pool = SlotPool(GPUS)
    four, one = pool.take(4), pool.take(1)
    assert (pool.free, pool.busy, pool.total) == (3, 5, 8)
    assert (four.devices, one.devices) == (GPUS[:4], GPUS[4:5])
    with pytest.raises(ValueError, match="4 slots asked for, 3 free"):
        pool.take(4)
    pool.give_back(four)
    assert pool.take(4).devices == GPUS[:4]
    assert len({id(pipe) for pipe in pool.wake_pipes}) == 8


def test_a_child_sees_its_own_gpus_only() -> None:
    pool = SlotPool(GPUS)
    assert pool.take(1).environment == {"CUDA_VISIBLE_DEVICES": "GPU-a"}
    gang = pool.take(3)
    assert (gang.device, gang.environment["CUDA_VISIBLE_DEVICES"]) == (
        "cuda:0",
        "GPU-b,GPU-c,GPU-d",
    )
    cpu = SlotPool(["cpu", "cpu"]).take(2)
    assert (cpu.device, cpu.environment) == ("cpu", {})


def test_a_gpu_that_two_slots_share_counts_once_for_one_job() -> None:
    """A process group cannot have two ranks on the same GPU."""
    pool = SlotPool(["GPU-a", "GPU-b", "GPU-a", "GPU-b"])
    assert (len(pool), pool.total, pool.free) == (4, 2, 2)
    assert pool.take(2).devices == ("GPU-a", "GPU-b")
    assert (pool.busy, pool.free) == (2, 2)
    assert pool.take(1).devices == ("GPU-a",)
    assert pool.free == 1


def test_a_mig_instance_is_given_to_one_job_alone() -> None:
    """CUDA gives a process no second one."""
    slices = SlotPool(["MIG-1", "MIG-2"])
    assert (len(slices), slices.total, slices.free) == (2, 1, 1)
    assert [slices.take(1).devices, slices.take(1).devices] == [("MIG-1",), ("MIG-2",)]
    mixed = SlotPool(["MIG-1", "GPU-a", "MIG-2", "GPU-b"])
    assert mixed.total == 2
    assert mixed.take(2).devices == ("GPU-a", "GPU-b")
    assert mixed.free == 1


def test_a_drained_device_is_given_to_nobody_until_it_is_undrained() -> None:
    pool = SlotPool(["GPU-a", "GPU-b", "GPU-a"])
    held = pool.take(1)
    pool.drain("GPU-a", "Xid 79.")
    pool.give_back(held)
    assert (len(pool), pool.total, pool.free, pool.busy) == (1, 1, 1, 0)
    assert pool.take(1).devices == ("GPU-b",)
    assert pool.free == 0
    assert pool.take(1).devices == ("GPU-a",), "a job that was claimed just before still runs"
    assert pool.drained == {"GPU-a": "Xid 79."}
    pool.undrain()
    assert (len(pool), pool.free) == (3, 1)
