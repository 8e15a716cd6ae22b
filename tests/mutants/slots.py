"""Defects of a worker that runs several attempts at once."""

from typing import Final

from tests.mutants.runner import Mutant

SLOTS: Final = (
    Mutant(
        "a child sees the GPUs of all slots",
        "worker/slots.py",
        '{"CUDA_VISIBLE_DEVICES": ",".join(self.devices)}',
        "{}",
        ("tests/worker/test_slots.py::test_a_child_sees_its_own_gpus_only",),
    ),
    Mutant(
        "two slots of one GPU are given to one job",
        "worker/slots.py",
        "    return [slot for slot in slots if slot in chosen]\n",
        "    return list(slots)\n",
        ("tests/worker/test_slots.py::test_a_gpu_that_two_slots_share_counts_once_for_one_job",),
    ),
    Mutant(
        "every child is said to have ended well",
        "worker/process/forkserver_client.py",
        'start.child.exit_status = reply["status"]',
        "start.child.exit_status = 0",
        (
            "tests/worker/process/test_forkserver_client.py::"
            "test_children_of_several_threads_get_their_own_ends",
        ),
    ),
    Mutant(
        "a success between two device errors is not counted",
        "worker/health/device_health.py",
        " if decision.code == DEVICE else 0\n",
        " if decision.code == DEVICE else self._in_a_row[suspects]\n",
        ("tests/worker/health/test_device_health.py::test_two_in_a_row_drain_the_gpu_of_the_slot",),
    ),
)
