"""Defects of what a run does with a GPU."""

from typing import Final

from tests.mutants.runner import Mutant

OUT_OF_MEMORY = "tests/trainer/engine/test_out_of_memory.py::"
ERRORS = "tests/trainer/accel/test_device_errors.py::"

DEVICES: Final = (
    Mutant(
        "a capture that memory has invalidated is an error of the code",
        "trainer/accel/device_errors.py",
        "        error = error.__cause__ or error.__context__\n",
        "        return\n",
        (ERRORS + "test_a_capture_that_memory_has_invalidated",),
    ),
    Mutant(
        "memory that a library cannot get is an error of the code",
        "trainer/accel/device_errors.py",
        '    "_alloc_failed",\n',
        "",
        (ERRORS + "test_every_form_of_out_of_memory",),
    ),
    Mutant(
        "a broken GPU spends the user's retries",
        "worker/attempt/decision.py",
        "StorageError.code, DEVICE, ",
        "StorageError.code, ",
        ("tests/worker/attempt/test_decision.py::test_a_failure_is_the_users_or_ours",),
    ),
    Mutant(
        "a graph that does not fit keeps its memory",
        "trainer/engine/graphed_step.py",
        "        self._recorder.forget()\n",
        "",
        (
            "tests/trainer/engine/test_graphed_step.py::"
            "test_a_graph_that_does_not_fit_is_dropped_and_steps_go_on",
        ),
    ),
    Mutant(
        "a run goes on on a device that broke during a capture",
        "trainer/accel/graphs.py",
        "    if is_broken_device(error):\n        raise error\n",
        "",
        (
            "tests/trainer/engine/test_graphed_step.py::"
            "test_a_device_that_breaks_during_a_capture_ends_the_run",
        ),
    ),
    Mutant(
        "a partial batch needs memory beside that of the graphs",
        "trainer/accel/cuda/graph_recorder.py",
        "        if not self._graphs:\n",
        "        if True:\n",
        (
            "tests/contract/test_pretend_gpu.py::"
            "test_a_partial_batch_runs_in_the_memory_of_the_graphs",
        ),
    ),
    Mutant(
        "decoders of a GPU job share one arena of the C library",
        "trainer/accel/malloc.py",
        'if device.startswith("cuda") or',
        "if",
        (
            "tests/trainer/accel/test_malloc.py::"
            "test_the_c_library_keeps_memory_for_jobs_on_a_cpu_alone",
        ),
    ),
    Mutant(
        "a batch that has just failed is said to fit",
        "trainer/spec/cost.py",
        "min(memory_bytes, estimate(spec, facts).memory_bytes)",
        "memory_bytes",
        (OUT_OF_MEMORY + "test_a_batch_that_failed_needs_more_than_its_estimate_says",),
    ),
)
