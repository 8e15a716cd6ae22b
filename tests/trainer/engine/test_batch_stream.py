"""The batch of a step: the same whenever it is made, and each row in its turn."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from tests.support.data.tiny_pack import blobs, write_pack
from trainer.accel.device import DeviceConfig
from trainer.engine.build import RunPaths, build_run
from trainer.engine.run import Run
from trainer.nn.views import tensors_of
from trainer.spec.job import JobSpec

ROWS, BATCH, EPOCHS = 20, 8, 2
STEPS = EPOCHS * 3  # the last batch of an epoch has 4 rows


@contextmanager
def opened(folder: Path) -> Iterator[Run]:
    images, labels = blobs(ROWS, side_px=12, classes=2)
    write_pack(folder / "pack", images, labels, classes=("a", "b"))
    spec = JobSpec.model_validate(
        {"dataset": "x", "epochs": EPOCHS, "batch_rows": BATCH, "partial_batch": "keep"}
    )
    paths = RunPaths(folder / "out", folder / "pack")
    with build_run(spec, paths, device_config=DeviceConfig(device="cpu", threads=1)) as run:
        yield run


def parts_of(run: Run, step: int) -> tuple[torch.Tensor, ...]:
    batch, random_inputs = run.batches.inputs_at(step)
    return (*tensors_of(batch), random_inputs)


def test_a_batch_is_the_same_whenever_it_is_asked_for(tmp_path: Path) -> None:
    """An evaluation or a resume may ask for any."""
    with opened(tmp_path) as run:
        first = [[part.clone() for part in parts_of(run, step)] for step in range(STEPS)]
        for step in (2, 0, STEPS - 1, 2):
            assert all(map(torch.equal, parts_of(run, step), first[step]))
            assert len(first[step][2]) == (4 if step % 3 == 2 else 8)
        assert not torch.equal(first[0][0], first[0][1]), "two views of a row differ"


def test_every_row_is_in_each_epoch_once(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        for epoch in range(EPOCHS):
            steps = range(3 * epoch, 3 * epoch + 3)
            rows = torch.cat([run.batches.rows_of(step) for step in steps])
            assert sorted(rows.tolist()) == list(range(ROWS))
