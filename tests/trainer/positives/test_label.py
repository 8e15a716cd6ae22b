"""Positives by label: whose labels they use, what a batch holds, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.data.tiny_pack import blobs, write_pack
from tests.support.service.api import facts as facts_of
from trainer.accel.device import DeviceConfig
from trainer.data.pack.format import Pack
from trainer.engine.build import RunPaths, build_run
from trainer.engine.run import Run
from trainer.evaluators.knn.evaluator import Knn
from trainer.modalities.image.batch import FlatImages, Images, Room
from trainer.nn.views import Pixels
from trainer.positives.base import load_partners, partner_data
from trainer.positives.registry import part_of, positives_names
from trainer.schema.errors import SpecError
from trainer.spec.cost import estimate
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

ROWS, BATCH = 60, 16
DEVICE = DeviceConfig(device="cpu", threads=1, loader_threads=0)


def spec_of(**changes: object) -> JobSpec:
    words = {
        "dataset": "x",
        "epochs": 2,
        "batch_rows": BATCH,
        "encoder": {"name": "small"},
        "views": {"side_px": 12},
        "positives": {"name": "label"},
    }
    return JobSpec.model_validate(words | changes)


def pack_of(folder: Path, *, side_px: int = 12) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return the labels: a fifth of the rows have none."""
    images, labels = blobs(ROWS, side_px=side_px, classes=3)
    labels[::5] = -1
    write_pack(folder / "pack", images, labels, classes=("a", "b", "c"))
    return labels


def paths_of(folder: Path) -> RunPaths:
    return RunPaths(folder / "out", folder / "pack")


def partners_of(run: Run, step: int) -> tuple[Any, Any]:
    partners = run.batches.partners
    assert partners is not None
    rows = run.batches.rows_of(step).numpy()
    return rows, partners.of(rows, epoch=step // run.length.steps_per_epoch)


def test_a_held_out_label_enters_neither_partners_nor_identities(tmp_path: Path) -> None:
    """The test rows of the evaluation pair with themselves, as rows without a label do."""
    labels = pack_of(tmp_path)
    with build_run(spec_of(), paths_of(tmp_path), device_config=DEVICE) as run:
        (knn,) = run.evaluation.evaluators
        assert isinstance(knn, Knn)
        tested = set(knn.test.rows.tolist())
        drawn = [partners_of(run, step) for step in range(run.length.steps)]
        batch, _ = run.batches.inputs_at(0)
    assert tested
    for rows, partners in drawn:
        is_used = np.array([labels[row] >= 0 and row not in tested for row in rows])
        assert (rows[~is_used] == partners[~is_used]).all()
        assert (rows[is_used] != partners[is_used]).all()
        assert (labels[rows] == labels[partners]).all()
        assert not tested & set(partners[is_used].tolist())
    rows, used = batch.rows.tolist(), [row for row in batch.rows.tolist() if row not in tested]
    identities = dict(zip(rows, batch.identities.tolist(), strict=True))
    alone = [identities[row] for row in rows if row in tested or labels[row] < 0]
    assert len(set(alone)) == len(alone)
    assert {identities[row] for row in used if labels[row] >= 0}.isdisjoint(alone)
    assert all(identities[row] == labels[row] for row in used if labels[row] >= 0)


def test_without_an_evaluation_every_label_is_used(tmp_path: Path) -> None:
    labels = pack_of(tmp_path)
    with build_run(spec_of(evaluation=None), paths_of(tmp_path), device_config=DEVICE) as run:
        rows, partners = partners_of(run, 0)
    assert ((rows != partners) == (labels[rows] >= 0)).all()


def test_the_first_view_is_of_the_row_and_the_second_of_its_partner(tmp_path: Path) -> None:
    """Both as the same job without partners makes them of these rows."""
    pack_of(tmp_path)
    with build_run(spec_of(), paths_of(tmp_path), device_config=DEVICE) as run:
        rows, partners = partners_of(run, 0)
        batch, _ = run.batches.inputs_at(0)
        own = run.views.random(run.source.raw(batch.rows), batch.rows, seed=0, epoch=0)
        theirs = run.source.raw(torch.from_numpy(partners))
        expected = run.views.random(theirs, batch.rows, seed=0, epoch=0)[1]
    first, second = batch.views
    assert torch.equal(first.pixels, own[0].pixels)
    assert torch.equal(second.pixels, expected.pixels)
    assert not torch.equal(second.pixels, own[1].pixels)
    assert (rows != partners).any()


def test_rows_one_after_another_are_chosen_with_their_sizes() -> None:
    starts, sizes = torch.tensor([0, 4, 10]), torch.tensor([2, 3, 1])
    images: Images = FlatImages(
        torch.zeros(11, 3, dtype=torch.uint8), starts, sizes, sizes + 1, Room(4, 4, 4)
    )
    chosen = images.rows(slice(1, None))
    assert isinstance(chosen, FlatImages)
    assert chosen.starts.tolist() == [4, 10]
    assert (chosen.heights.tolist(), chosen.widths.tolist()) == ([3, 1], [4, 2])
    assert len(chosen.pixels) == 11


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"labels": ()}, "has no labels; add it again with folders of classes or a labels.csv"),
        ({"labels": ("cat",)}, "have the label cat, which leaves no negatives; use self"),
        ({"labels": ("cat", "dog"), "label_rows": (900, 0)}, "have the label cat"),
    ],
)
def test_labels_that_cannot_be_positives_are_refused(facts: dict[str, Any], reason: str) -> None:
    with pytest.raises(SpecError, match=reason) as refused:
        resolve(spec_of(), facts_of(rows=1000, **facts))
    assert refused.value.field == "positives.name"


@pytest.mark.parametrize("b_is", ["held out", "not trained on"])
def test_labels_that_may_not_be_used_do_not_count(b_is: str, tmp_path: Path) -> None:
    """Facts count labels of all rows; those that may be used are known once the pack is open."""
    images, labels = blobs(30, side_px=12, classes=2)
    facts = write_pack(tmp_path / "pack", images, labels, classes=("a", "b"))
    pack, rows_of_b = Pack.open(tmp_path / "pack"), np.flatnonzero(labels == 1)
    spec = resolve(spec_of(), facts).spec
    assert load_partners(spec, partner_data(pack, train_rows=None, held_out=rows_of_b[1:]))
    train_rows = None if b_is == "held out" else np.flatnonzero(labels == 0)
    held_out = rows_of_b if b_is == "held out" else rows_of_b[:0]
    with pytest.raises(SpecError, match="the labels that training may use are all the same"):
        load_partners(spec, partner_data(pack, train_rows=train_rows, held_out=held_out))


def test_twice_the_stored_rows_are_counted() -> None:
    facts = facts_of(rows=1000, labels=("a", "b"), same_size=False)
    own = estimate(resolve(spec_of(positives={"name": "self"}), facts).spec, facts)
    both = estimate(resolve(spec_of(), facts).spec, facts)
    assert both.memory_bytes > own.memory_bytes


def test_every_way_is_a_folder_with_its_parts() -> None:
    for name in positives_names():
        assert part_of(name, "defaults").check
        assert part_of(name, "partners").partners


def test_views_are_pixels_of_the_batch(tmp_path: Path) -> None:
    pack_of(tmp_path)
    with build_run(spec_of(), paths_of(tmp_path), device_config=DEVICE) as run:
        batch, _ = run.batches.inputs_at(1)
    for view in batch.views:
        assert isinstance(view, Pixels)
        assert view.pixels.shape == (BATCH, 3, 12, 12)
