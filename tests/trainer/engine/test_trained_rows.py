"""Rows and labels that a finetune job trains on: nothing held out, as many of each class."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.data.tiny_pack import blobs, write_pack
from trainer.accel.device import DeviceConfig
from trainer.engine.build import RunPaths, build_run
from trainer.engine.trained_rows import drawn_labels
from trainer.evaluators.classifier.evaluator import Classifier
from trainer.schema.errors import SpecError
from trainer.spec.job import JobSpec

ROWS, CLASSES = 60, 3
DEVICE = DeviceConfig(device="cpu", threads=1, loader_threads=0)


def spec_of(**method: Any) -> JobSpec:  # noqa: ANN401
    words = {"kind": "finetune", "dataset": "x", "epochs": 2, "batch_rows": 8}
    words |= {"encoder": {"name": "small"}, "views": {"side_px": 12}, "method": method}
    return JobSpec.model_validate(words)


def test_each_class_has_as_many_rows_and_more_labels_hold_those_of_fewer() -> None:
    labels = np.array([0, 1, -1, 2] * 10, np.int32)
    few, more = (drawn_labels(labels, per_class=count, seed=5) for count in (3, 7))
    assert np.bincount(few[few >= 0]).tolist() == [3, 3, 3]
    assert (more[few >= 0] == labels[few >= 0]).all()
    assert (few != drawn_labels(labels, per_class=3, seed=6)).any()
    with pytest.raises(SpecError, match="has only 10 labeled images"):
        drawn_labels(labels, per_class=11, seed=5)


@pytest.mark.parametrize("per_class", [None, 4])
def test_steps_read_labels_of_rows_that_are_not_tested(
    per_class: int | None, tmp_path: Path
) -> None:
    """Each row in one view. Rows without a label are in no batch."""
    images, labels = blobs(ROWS, side_px=12, classes=CLASSES)
    labels[::5] = -1
    write_pack(tmp_path / "pack", images, labels, classes=("a", "b", "c"))
    paths = RunPaths(tmp_path / "out", tmp_path / "pack")
    with build_run(spec_of(labels_per_class=per_class), paths, device_config=DEVICE) as run:
        (classifier,) = run.evaluation.evaluators
        assert isinstance(classifier, Classifier)
        tested = set(classifier.test.rows.tolist())
        batches = [run.batches.inputs_at(step).batch for step in range(run.length.steps)]
        trained = run.batches.train_rows
    assert trained is not None
    labelled = set(np.flatnonzero(labels >= 0).tolist())
    assert set(trained.tolist()) <= labelled - tested
    assert len(trained) == (len(labelled - tested) if per_class is None else 4 * CLASSES)
    for batch in batches:
        assert len(batch.views) == 1
        assert set(batch.rows.tolist()) <= set(trained.tolist())
        assert batch.identities.tolist() == labels[batch.rows.numpy()].tolist()


def test_rows_that_fill_no_batch_are_refused_at_the_batch(tmp_path: Path) -> None:
    images, labels = blobs(ROWS, side_px=12, classes=CLASSES)
    labels[40:] = -1
    write_pack(tmp_path / "pack", images, labels, classes=("a", "b", "c"))
    spec = spec_of().model_copy(update={"batch_rows": 48})
    paths = RunPaths(tmp_path / "out", tmp_path / "pack")
    with (
        pytest.raises(SpecError, match="48 images, but only 36 are trained on") as raised,
        build_run(spec, paths, device_config=DEVICE),
    ):
        pass
    assert raised.value.field == "batch_rows"
