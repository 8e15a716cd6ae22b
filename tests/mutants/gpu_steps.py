"""Defects of a step on a GPU: a host that waits, copies that wait, and tensors out of place."""

from typing import Final

from tests.mutants.runner import Mutant

STEPS = "tests/contract/test_pretend_gpu.py::test_steps_on_a_gpu_are_as_they_should_be"
COUNTS = "tests/contract/test_pretend_gpu.py::test_counts_of_a_step_are_the_stored_ones"

GPU_STEPS: Final = (
    Mutant(
        "a step reads a value of the GPU",
        "trainer/methods/moco/method.py",
        '        with self.timer.phase("momentum"):\n',
        '        output.loss.item()\n        with self.timer.phase("momentum"):\n',
        (f"{STEPS}[method moco, captured]",),
    ),
    Mutant(
        "the host waits for the packet of a step",
        "trainer/accel/transfer.py",
        "packet.to(device, non_blocking=True)",
        "packet.to(device)",
        (f"{STEPS}[method moco, captured]",),
    ),
    Mutant(
        "the packet of a step is not pinned",
        "trainer/accel/transfer.py",
        'dtype=torch.uint8, pin_memory=device.type == "cuda")',
        "dtype=torch.uint8)",
        (f"{COUNTS}[method moco, captured]",),
    ),
    Mutant(
        "the rows of a step are copied once more",
        "trainer/engine/batch_stream.py",
        "        raw = self.source.raw(read, sent=sent)\n",
        "        raw = self.source.raw(read)\n",
        (f"{COUNTS}[method moco, captured]",),
    ),
    Mutant(
        "a mark of a profile names no stream",
        "trainer/timing/phase_timer.py",
        "event.record(torch.cuda.current_stream(self._device))",
        "event.record()",
        (f"{STEPS}[profiled, eager]",),
    ),
    Mutant(
        "a graph is captured on the stream of the first GPU",
        "trainer/accel/cuda/graph_recorder.py",
        "torch.cuda.Stream(device)",
        'torch.cuda.Stream("cuda:0")',
        (f"{STEPS}[second GPU, captured]",),
    ),
    Mutant(
        "the slots of new keys are counted on the first GPU",
        "trainer/nn/negative_queue.py",
        "torch.arange(count - kept, count, device=keys.device)",
        'torch.arange(count - kept, count, device="cuda:0" if keys.is_cuda else "cpu")',
        (f"{STEPS}[second GPU, captured]",),
    ),
    Mutant(
        "a tensor that nothing reads lies on the first GPU",
        "trainer/engine/batch_stream.py",
        "        raw = self.source.raw(read, sent=sent)\n",
        "        raw = self.source.raw(read, sent=sent)\n"
        '        _ = torch.zeros(1, device="cuda:0") if sent.is_cuda else None\n',
        (f"{STEPS}[second GPU, captured]",),
    ),
    Mutant(
        "views are normalized by a tensor of the host",
        "trainer/modalities/image/augment/augment.py",
        "self._mean = torch.tensor(mean, dtype=torch.float32, device=device)[:, None]",
        "self._mean = torch.tensor(mean, dtype=torch.float32)[:, None]",
        (f"{STEPS}[method moco, captured]",),
    ),
)
