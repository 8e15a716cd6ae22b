"""Out of memory in a run on a GPU: what the user is told, with figures from the device."""

import re
from pathlib import Path

import pytest
import torch

from tests.support.data.dataset_facts import made_up_facts
from tests.support.data.tiny_pack import blobs, write_pack
from tests.support.pretend_gpu.cuda import pretend_gpu
from trainer.accel.device import DeviceConfig
from trainer.engine.build import RunPaths
from trainer.engine.outcome import run_and_record_outcome
from trainer.engine.step import EagerStep
from trainer.engine.train import train
from trainer.schema.events import Ended
from trainer.spec.cost import estimate, largest_batch
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec
from trainer.spec.resolved import ResolvedSpec

GIB = 1 << 30


def ended_by(error: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Ended:
    """Run a job whose first step raises `error` on a card of 24 GiB, 1 GiB of them free."""

    def raises(*_: object, **__: object) -> None:
        raise error

    images, _ = blobs(64, side_px=16, classes=1)
    write_pack(folder / "pack", images)
    spec = JobSpec.model_validate(
        {
            "dataset": "x",
            "batch_rows": 64,
            "encoder": {"name": "small"},
            "method": {"queue_rows": 64},
            "evaluation": None,
        }
    )
    with pretend_gpu():
        monkeypatch.setattr(EagerStep, "gradient", raises)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (GIB, 24 * GIB))
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 21 * GIB)
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 22 * GIB)

        def work() -> Ended:
            return train(
                spec,
                RunPaths(folder / "out", folder / "pack"),
                device_config=DeviceConfig(device="cuda", graphs=False, loader_threads=0),
                emit=lambda _: None,
                should_stop=lambda: False,
            )

        ended = run_and_record_outcome(work, out=folder / "out", emit=lambda _: None)
        monkeypatch.undo()
    return ended


@pytest.mark.parametrize(
    ("error", "tried"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "2.00 GiB"),
        (torch.AcceleratorError("CUDA error: out of memory"), ""),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), ""),
    ],
)
def test_the_user_is_told_the_figures_and_the_batch_that_fits(
    error: Exception, tried: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = ended_by(error, tmp_path, monkeypatch)
    assert (ended.outcome, ended.code) == ("failed", "oom")
    wanted = f"tried to allocate {tried}, " if tried else ""
    assert ended.message == (
        f"The GPU ran out of memory: {wanted}1.00 GiB of 24.00 GiB is free, the peak of this job "
        "was 21.00 GiB."
    )
    batch_rows = re.match(r"Lower batch_rows from 64 to (\d+), the largest", ended.hint)
    assert batch_rows is not None
    assert int(batch_rows[1]) in range(8, 64, 8)  # whatever the estimate, 64 is too much


def test_a_broken_gpu_is_no_fault_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nand so")
    ended = ended_by(error, tmp_path, monkeypatch)
    assert (ended.outcome, ended.code) == ("failed", "device")
    assert ended.message == (
        "The GPU failed: CUDA error: an illegal memory access was encountered."
    )
    assert "moco doctor" in ended.hint


def resolved(**settings: object) -> ResolvedSpec:
    sent = {"dataset": "x", "encoder": {"name": "resnet50"}, "views": {"side_px": 224}}
    return resolve(JobSpec.model_validate(sent | settings), made_up_facts(side_px=256)).spec


@pytest.mark.parametrize("gib", [8, 16, 24])
def test_the_largest_batch_is_the_largest_whose_estimate_fits(gib: int) -> None:
    """The oracle is every smaller batch, one by one."""
    spec = resolved(batch_rows=512)
    fitting = [
        rows
        for rows in range(8, 512, 8)
        if estimate(resolved(batch_rows=rows), made_up_facts(side_px=256)).memory_bytes
        <= 0.9 * gib * GIB
    ]
    found = largest_batch(spec, made_up_facts(side_px=256), memory_bytes=gib * GIB)
    assert found == fitting[-1]
    assert found < 512


def test_a_batch_that_failed_needs_more_than_its_estimate_says() -> None:
    """Even without a limit, the advice is a batch that needs clearly less."""
    spec, facts = resolved(batch_rows=512), made_up_facts(side_px=256)
    found = largest_batch(spec, facts, memory_bytes=1 << 60)
    assert found is not None
    limit = 0.9 * estimate(spec, facts).memory_bytes
    assert estimate(resolved(batch_rows=found), facts).memory_bytes <= limit
    assert estimate(resolved(batch_rows=found + 8), facts).memory_bytes > limit


def test_no_batch_fits_where_the_weights_do_not() -> None:
    assert largest_batch(resolved(batch_rows=64), made_up_facts(), memory_bytes=1 << 20) is None


def test_the_batch_is_one_that_all_gpus_can_share() -> None:
    spec = resolved(batch_rows=480, resources={"gpus": 6}, method={"bn_splits": 12})
    found = largest_batch(spec, made_up_facts(side_px=256), memory_bytes=16 * GIB)
    assert found is not None
    assert found % 24 == 0
