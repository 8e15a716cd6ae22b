"""Defects of the state that a run resumes from."""

from typing import Final

from tests.mutants.runner import Mutant

CUTS = (
    "tests/trainer/checkpoint/test_resume.py::"
    "test_a_chain_of_cuts_ends_in_the_same_bits[sgd-bf16-mlp]"
)

RESUMES: Final = (
    Mutant(
        "running means are not restored",
        "trainer/checkpoint/state.py",
        "    try:\n        method.load_state_dict(own)\n",
        '    own = {name: value for name, value in own.items() if "running_" not in name}\n'
        "    try:\n        method.load_state_dict(own, strict=False)\n",
        (CUTS,),
    ),
    Mutant(
        "the pointer of the negatives is not restored",
        "trainer/checkpoint/state.py",
        "    try:\n        method.load_state_dict(own)\n",
        '    own = {name: value for name, value in own.items() if "pointer" not in name}\n'
        "    try:\n        method.load_state_dict(own, strict=False)\n",
        (CUTS,),
    ),
    Mutant(
        "the negatives are not restored",
        "trainer/checkpoint/state.py",
        "    try:\n        method.load_state_dict(own)\n",
        '    own = {name: value for name, value in own.items() if "negatives.keys" not in name}\n'
        "    try:\n        method.load_state_dict(own, strict=False)\n",
        (CUTS,),
    ),
    Mutant(
        "the key encoder is not restored",
        "trainer/checkpoint/state.py",
        "    try:\n        method.load_state_dict(own)\n",
        '    own = {name: value for name, value in own.items() if not name.startswith("key")}\n'
        "    try:\n        method.load_state_dict(own, strict=False)\n",
        (CUTS,),
    ),
    Mutant(
        "the state of the optimizer is not restored",
        "trainer/checkpoint/state.py",
        "            optimizer.state[parameter][key] = _like(parameter, value)\n",
        "            pass\n",
        (CUTS,),
    ),
    Mutant(
        "the warm-up is a step ahead",
        "trainer/optim/schedule.py",
        "    epoch = step / length.steps_per_epoch\n",
        "    epoch = (step + 1) / length.steps_per_epoch\n",
        ("tests/trainer/optim/test_optimizer.py::test_warm_up_and_cosine_per_step_is_version_3",),
    ),
    Mutant(
        "a resumed run repeats a step",
        "trainer/engine/build.py",
        "        step=meta.step,\n",
        "        step=meta.step - 1,\n",
        (CUTS,),
    ),
    Mutant(
        "an attempt on another machine passes for the same",
        "trainer/engine/build.py",
        "sorted({*meta.differs, *differing(meta.fingerprint, causes)})",
        "sorted(meta.differs)",
        (
            "tests/trainer/checkpoint/test_resume.py::test_another_thread_count_goes_on_but_is_stamped",
        ),
    ),
    Mutant(
        "a checkpoint from a GPU does not wait for its copies",
        "trainer/checkpoint/snapshot.py",
        "self._copied.record(torch.cuda.current_stream(self._device))",
        "self._copied.record()",
        (
            "tests/trainer/checkpoint/test_background_writer.py::"
            "test_a_snapshot_waits_for_the_copies_of_its_own_gpu",
        ),
    ),
    Mutant(
        "a run leaves another GPU the current one",
        "trainer/accel/device.py",
        'return torch.cuda.device(device) if device.type == "cuda" else nullcontext()',
        "return nullcontext()",
        (
            "tests/trainer/accel/test_device.py::"
            "test_the_gpu_of_a_run_is_the_current_one_as_long_as_the_run",
        ),
    ),
    Mutant(
        "emulated bf16 passes for bf16",
        "trainer/accel/device.py",
        "if capability >= BF16_CAPABILITY:",
        "if torch.cuda.is_bf16_supported():",
        ("tests/trainer/accel/test_device.py::test_bf16_is_used_on_cards_that_have_it",),
    ),
    Mutant(
        "convolutions in fp32 run in TF32",
        "trainer/accel/device.py",
        "parts = (_CONV, _RNN, _MATMUL)",
        "parts = (_MATMUL,)",
        ("tests/trainer/accel/test_device.py::test_fp32_is_never_tf32_during_a_run",),
    ),
    Mutant(
        "a fingerprint does not say whether steps are captured",
        "trainer/checkpoint/fingerprint.py",
        'context.backend_settings() | {"graphs": "on" if graphs else "off"}',
        "context.backend_settings()",
        (
            "tests/trainer/checkpoint/test_fingerprint.py::"
            "test_settings_of_cuda_are_causes_on_a_gpu_alone",
        ),
    ),
    Mutant(
        "chance depends on the process",
        "trainer/engine/view_maker.py",
        "random(raw, rows, seed=self.seed, epoch=epoch)",
        "random(raw, rows, seed=self.seed + torch.initial_seed() % 97, epoch=epoch)",
        (CUTS,),
    ),
)
