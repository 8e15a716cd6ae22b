"""Defects of the inventory of GPUs, each found without a GPU."""

from typing import Final

from tests.mutants.runner import Mutant

INVENTORY = "tests/worker/gpus/test_inventory.py::test_"

GPUS: Final = (
    Mutant(
        "a name that is no GPU trains on the CPU",
        "worker/gpus/inventory.py",
        '                raise _refusal("MOCO_DEVICE", error) from error\n',
        "                continue\n",
        (INVENTORY + "a_name_that_is_no_gpu_is_refused_and_never_the_cpu",),
    ),
    Mutant(
        "a broken driver trains on the CPU",
        "worker/gpus/inventory.py",
        "        if missing and not DEVICE_FILE.exists():\n",
        "        if not DEVICE_FILE.exists():\n",
        (INVENTORY + "a_broken_driver_is_no_reason_for_the_cpu",),
    ),
    Mutant(
        "a driver that is too old is not noticed",
        "worker/gpus/fitness.py",
        "    if cuda[0] >= build.cuda[0]:\n",
        "    if cuda[0] >= build.cuda[0] - 1:\n",
        (INVENTORY + "a_driver_that_is_too_old_is_refused_before_a_job",),
    ),
    Mutant(
        "newer minor versions of CUDA are refused",
        "worker/gpus/fitness.py",
        "    if cuda[0] >= build.cuda[0]:\n",
        "    if cuda >= build.cuda:\n",
        (INVENTORY + "a_driver_that_is_too_old_is_refused_before_a_job",),
    ),
    Mutant(
        "a card without kernels in the wheel is used",
        "worker/gpus/inventory.py",
        "    usable = tuple(gpu for gpu in gpus if gpu.uuid not in problems)\n",
        "    usable = tuple(gpus)\n",
        (INVENTORY + "cards_that_the_wheel_has_no_code_for",),
    ),
    Mutant(
        "CUDA that does not start is not noticed",
        "worker/gpus/fitness.py",
        "    if len(answer.devices) >= expected or",
        "    if answer.build or",
        (INVENTORY + "gpus_that_the_driver_lists_and_cuda_cannot_use_are_refused",),
    ),
    Mutant(
        "a lost card takes the others with it",
        "worker/gpus/nvml.py",
        "                continue\n            if problem",
        "                break\n            if problem",
        (INVENTORY + "a_card_that_fell_off_the_bus_costs_the_others_nothing",),
    ),
    Mutant(
        "one missing sensor loses every reading",
        "worker/gpus/nvml.py",
        "    except (pynvml.NVMLError, ctypes.ArgumentError):\n        return None\n",
        "    except ctypes.ArgumentError:\n        return None\n",
        ("tests/worker/gpus/test_sensors.py::test_a_sensor_that_is_missing_costs_no_other",),
    ),
    Mutant(
        "a GPU that is lost keeps its last readings",
        "worker/telemetry/gpu_metrics.py",
        "                self._metrics.drop(metric, **labels)\n",
        "                pass\n",
        (
            "tests/worker/telemetry/test_gpu_metrics.py::"
            "test_a_gpu_that_is_lost_leaves_no_old_readings",
        ),
    ),
)
