"""Costs of a step beyond arithmetic, counted: bytes to the device, waits for it, memory.

The device is torch's `meta`, which has shapes and no values: whatever would wait for a value of a
GPU's is an error there, and whatever goes to it is a copy that can be counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.data.tiny_pack import blobs, write_pack
from trainer.accel import device
from trainer.accel.device import DeviceConfig
from trainer.engine import build
from trainer.engine.build import RunPaths, build_run
from trainer.engine.run import Run
from trainer.losses.info_nce import info_nce
from trainer.nn.negative_mask import NegativeMask
from trainer.spec.job import JobSpec

META = torch.device("meta")
ROWS, BATCH, SIDE_PX, STEPS = 70, 16, 16, 2
WORD_BYTES = 8


class Copies(TorchDispatchMode):
    """Counts the bytes of tensors that go from the host to the device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.to_device_bytes = 0

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401  # torch has no types here
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  # torch has no types here
        found = func(*args, **(kwargs or {}))
        if func._schema.name in {"aten::_to_copy", "aten::copy_"}:
            source = args[1] if func._schema.name == "aten::copy_" else args[0]
            if source.device.type == "cpu" and found.device == META:
                self.to_device_bytes += source.numel() * source.element_size()
        return found


def plain_sgd(_spec: object, parameters: dict[str, torch.nn.Parameter]) -> torch.optim.Optimizer:
    """A fused optimizer has no arithmetic of shapes alone."""
    return torch.optim.SGD(parameters.values(), lr=0.1, momentum=0.9, foreach=True)


@contextmanager
def run_on_meta(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, symmetric: bool = False, **settings: object
) -> Iterator[Run]:
    monkeypatch.setattr(device, "_device", lambda _: META)
    monkeypatch.setattr(build, "make_optimizer", plain_sgd)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    words = {
        "dataset": "x",
        "epochs": 20,
        "batch_rows": BATCH,
        "precision": "fp32",
        "encoder": {"name": "small"},
        "views": {"side_px": SIDE_PX, "blur_p": 0.5, "solarize_p": 0.1},
        "method": {"queue_rows": 64, "symmetric": symmetric},
        "evaluation": None,
        "signals_every_steps": 1000,
    }
    spec = JobSpec.model_validate(words | settings)
    paths = RunPaths(folder / "out", folder / "pack")
    with build_run(spec, paths, device_config=DeviceConfig(device="any")) as run:
        run.progress.step = 1  # the first step reads its signals, and waits for them
        run.advance()
        yield run


def counted(run: Run) -> float:
    with Copies() as copies:
        for _ in range(STEPS):
            run.advance()
    return float(copies.to_device_bytes) / STEPS


def bytes_of_a_step(*, halves: int) -> int:
    """Return the bytes of row numbers and of the order of keys, there and back."""
    return WORD_BYTES * BATCH * (1 + 2 * halves)


@pytest.mark.parametrize("symmetric", [False, True])
def test_of_a_resident_pack_only_numbers_go_to_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, symmetric: bool
) -> None:
    write_pack(tmp_path / "pack", *blobs(ROWS, side_px=20, classes=2), classes=("a", "b"))
    with run_on_meta(tmp_path, monkeypatch, symmetric=symmetric) as run:
        assert counted(run) == bytes_of_a_step(halves=1 + symmetric)


def test_other_packs_send_each_pixel_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy bytes once for both views, padded to the largest row of the batch."""
    images, _ = blobs(ROWS, side_px=20, classes=2)
    sizes = [images[0, :18], *images[1:]]  # of one row apart, all batches are 20 x 20
    write_pack(tmp_path / "pack", [np.ascontiguousarray(image) for image in sizes])
    with run_on_meta(tmp_path, monkeypatch) as run:
        pixels, sides = BATCH * 20 * 20 * 3, 2 * WORD_BYTES * BATCH
        assert counted(run) == pixels + sides + bytes_of_a_step(halves=1)


@pytest.mark.parametrize(
    "method",
    [
        {"queue_rows": 64, "negatives_start": "empty"},
        {"queue_rows": 8, "bn": "plain", "mask_own_keys": False},
    ],
)
def test_no_step_waits_for_a_value_of_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: dict[str, object]
) -> None:
    write_pack(tmp_path / "pack", *blobs(ROWS, side_px=20, classes=2), classes=("a", "b"))
    with run_on_meta(tmp_path, monkeypatch, method=method) as run:
        for _ in range(STEPS):
            assert run.advance() is None
        assert run.step == STEPS + 2


def test_the_device_that_stands_in_does_not_answer() -> None:
    """Else the test above would say nothing."""
    value = torch.zeros(2, device=META)
    for ask in (lambda: value.sum().item(), lambda: bool(value.any()), value.cpu):
        with pytest.raises((RuntimeError, NotImplementedError)):
            ask()


def test_a_million_negatives_never_have_all_their_logits_at_once() -> None:
    """The most memory held, as a share of one [B, K] in fp32: no mask of that shape either."""
    rows, negatives = 32, 2**20
    query, key = unit(rows).requires_grad_(), unit(rows)
    mask = NegativeMask(torch.arange(rows), torch.arange(negatives), empty=-2)
    queue = unit(negatives)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        loss = info_nce(query, key, queue, temperature=0.2, mask=mask)
        loss.backward()  # type: ignore[no-untyped-call]
    assert most_bytes(profiled) < 0.4 * rows * negatives * 4


def unit(rows: int) -> Tensor:
    return F.normalize(torch.randn(rows, 4), dim=1)


def most_bytes(profiled: Any) -> int:  # noqa: ANN401  # torch does not type what it collected
    events = profiled.profiler.kineto_results.events()
    changes = [event for event in events if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    return max(accumulate(int(event.nbytes()) for event in changes))
