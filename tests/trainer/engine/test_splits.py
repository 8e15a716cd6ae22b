"""Splits: only rows of "train" are trained on, rows of "test" are evaluated."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.data.ingest import image_writer
from tests.support.data.tiny_pack import blobs
from tests.support.service.api import facts as facts_of
from trainer.accel.device import DeviceConfig
from trainer.data.labels.classes import ClassNames
from trainer.data.readers.items import Item, Split
from trainer.data.spec import USUAL
from trainer.engine.build import RunPaths, build_run
from trainer.evaluators.knn.evaluator import Knn
from trainer.evaluators.runner import Evaluation
from trainer.modalities.image.augment.spec import ViewsSpec
from trainer.modalities.image.decode import decode_array
from trainer.modalities.image.encoders.spec import EncoderSpec
from trainer.schema.errors import SpecError
from trainer.spec.cost import estimate
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec
from trainer.spec.rules import steps_per_epoch

SPLITS: tuple[Split | None, ...] = ("train", "train", "val", "test", None)


def pack_of(folder: Path, rows: int, *, test_labels: bool = True) -> None:
    """Labelled rows, two fifths of them held back; those without a word belong to train."""
    images, labels = blobs(rows, side_px=16, classes=2)
    classes = ClassNames()
    classes.declare(["a", "b"])
    writer = image_writer(folder)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        split = SPLITS[number % 5]
        known = test_labels or split != "test"
        item = Item(
            f"{number}.png",
            1,
            content=lambda: images[0],
            label=int(label) if known else -1,
            split=split,
        )
        writer.add([(item, decode_array(image, USUAL))])
    writer.finish(classes)
    writer.publish()


def spec_of(**changes: object) -> JobSpec:
    return JobSpec(
        dataset="x",
        epochs=2,
        batch_rows=8,
        encoder=EncoderSpec(name="small"),
        views=ViewsSpec(side_px=16),
        **changes,  # type: ignore[arg-type]
    )


def rows_of(evaluation: Evaluation) -> tuple[list[int], list[int]]:
    """Rows that are classified, and rows of the bank."""
    (knn,) = evaluation.evaluators
    assert isinstance(knn, Knn)
    return knn.test.rows.tolist(), knn.bank.rows.tolist()


@pytest.mark.parametrize("use_splits", [True, False])
def test_only_rows_of_train_are_trained_on(use_splits: bool, tmp_path: Path) -> None:
    pack_of(tmp_path / "pack", 100)
    paths = RunPaths(tmp_path / "run", tmp_path / "pack")
    with build_run(
        spec_of(use_splits=use_splits), paths, device_config=DeviceConfig(device="cpu")
    ) as run:
        per_epoch = run.batches.length.steps_per_epoch
        epochs = [
            torch.cat([run.batches.rows_of(epoch * per_epoch + step) for step in range(per_epoch)])
            for epoch in range(2)
        ]
        evaluation = run.evaluation
    expected = [row for row in range(100) if not use_splits or row % 5 in {0, 1, 4}]
    assert per_epoch == len(expected) // 8
    for rows in epochs:
        assert len(set(rows.tolist())) == per_epoch * 8
        assert set(rows.tolist()) <= set(expected)
    assert epochs[0].tolist() != epochs[1].tolist()
    asked, bank = rows_of(evaluation)
    if use_splits:
        assert asked == [row for row in range(100) if row % 5 == 3]
        assert bank == expected
    else:
        assert len(asked) == 10
        assert sorted(asked + bank) == list(range(100))


def test_without_labelled_test_rows_a_tenth_of_train_is_asked(tmp_path: Path) -> None:
    pack_of(tmp_path / "pack", 100, test_labels=False)
    paths = RunPaths(tmp_path / "run", tmp_path / "pack")
    with build_run(spec_of(), paths, device_config=DeviceConfig(device="cpu")) as run:
        asked, bank = rows_of(run.evaluation)
    assert len(asked) == 6
    assert sorted(asked + bank) == [row for row in range(100) if row % 5 in {0, 1, 4}]


def test_suggestions_and_estimates_count_rows_of_train() -> None:
    whole = facts_of(rows=1000)
    parts = facts_of(rows=5000, splits={"train": 1000, "val": 1500, "test": 2500})
    spec = JobSpec(dataset="x")
    # k follows the bank, from which a test split takes no tenth.
    of_parts, of_whole = (
        resolve(spec, facts).spec.model_copy(update={"evaluation": None})
        for facts in (parts, whole)
    )
    assert of_parts == of_whole
    resolved = resolve(spec, parts).spec
    assert estimate(resolved, parts).steps == steps_per_epoch(resolved, 1000) * (
        resolved.epochs or 0
    )
    ignored = resolve(JobSpec(dataset="x", use_splits=False), parts).spec
    assert ignored.batch_rows == resolve(spec, facts_of(rows=5000)).spec.batch_rows
    assert np.isclose(estimate(ignored, parts).steps, steps_per_epoch(ignored, 5000) * 400, rtol=1)


def test_a_dataset_without_rows_of_train_is_refused_in_words() -> None:
    facts = facts_of(rows=500, splits={"train": 0, "val": 0, "test": 500})
    with pytest.raises(SpecError, match="use_splits false"):
        resolve(JobSpec(dataset="x"), facts)
