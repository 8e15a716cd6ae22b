"""The batch of a step is the same whoever makes it, and whenever."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny_pack import blobs, write_pack
from trainer.assemble import Places, open_run
from trainer.machine import Machine
from trainer.run import Run
from trainer.spec import JobSpec
from trainer.views import compiled

ROWS, BATCH, EPOCHS = 20, 8, 2
STEPS = EPOCHS * 3  # the last batch of an epoch has 4 rows


@contextmanager
def opened(folder: Path, *, sides_px: tuple[int, ...] = (12,), **words: Any) -> Iterator[Run]:  # noqa: ANN401
    images, labels = blobs(ROWS, side_px=12, classes=2)
    cut = [image[: sides_px[row % len(sides_px)]] for row, image in enumerate(images)]
    write_pack(folder / "pack", images if len(sides_px) == 1 else cut, labels, classes=("a", "b"))
    spec = JobSpec.model_validate(
        {"dataset": "x", "epochs": EPOCHS, "batch_rows": BATCH, "partial_batch": "keep"} | words
    )
    places = Places(folder / "out", folder / "pack")
    with open_run(spec, places, machine=Machine(device="cpu", threads=1)) as run:
        yield run


@pytest.fixture
def long_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views are compiled from the first pixel on."""
    monkeypatch.setattr(compiled, "PIXELS_MIN", 0)


@pytest.mark.usefixtures("long_job")
def test_a_batch_made_ahead_has_the_bits_of_one_made_here(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        batches, ahead = run.batches, run.batches.ahead
        assert ahead is not None
        taken = 0
        for step in [*range(STEPS), 2, 0]:  # an evaluation or a resume may ask for any
            if ahead._begun is not None and ahead._begun[0] == step:
                ahead._begun[1].exception(30.0)
                taken += 1
            found, expected = batches.of(step), batches.made(step)
            assert all(torch.equal(ours, here) for ours, here in zip(found, expected, strict=True))
            assert len(found.rows) == (4 if step % 3 == 2 else 8)
        assert taken == STEPS - 1


@pytest.mark.usefixtures("long_job")
def test_nothing_is_begun_after_the_last_step(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        assert run.batches.ahead is not None
        run.batches.of(STEPS - 1)
        assert run.batches.ahead._begun is None


def test_every_row_is_in_each_epoch_once(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        for epoch in range(EPOCHS):
            steps = range(3 * epoch, 3 * epoch + 3)
            rows = torch.cat([run.batches.rows_of(step) for step in steps])
            assert sorted(rows.tolist()) == list(range(ROWS))


def test_a_short_job_makes_nothing_ahead(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        assert run.batches.ahead is None


@pytest.mark.usefixtures("long_job")
@pytest.mark.parametrize("why", ["rows of many sizes are gathered", "phases are measured"])
def test_what_is_gathered_or_measured_is_made_here(why: str, tmp_path: Path) -> None:
    sides_px = (12, 9) if "sizes" in why else (12,)
    with opened(tmp_path, sides_px=sides_px, profile="measured" in why) as run:
        assert run.batches.ahead is None
