"""Segmentation of a job on squares that masks mark, and on masks at random."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import jaccard_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from tests.support.data.dataset_facts import made_up_facts
from tests.support.data.tiny_pack import add_masks
from tests.support.trainer.evaluations import Evaluating, evaluating, labelled_pack
from trainer.evaluators.labelled_rows import TRAINED_ON
from trainer.evaluators.segmentation.evaluator import Segmentation
from trainer.evaluators.segmentation.masked_rows import cell_classes, class_values
from trainer.schema.errors import SpecError
from trainer.schema.evaluation import Figure
from trainer.spec.defaults import resolve
from trainer.spec.job import JobSpec

SIDE_PX, ROWS = 32, 80
OWN: dict[str, Any] = {"name": "segmentation"}


def squares(rows: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Noise with a bright square of 16 px, which the mask marks with 255."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 120, (rows, SIDE_PX, SIDE_PX, 3)).astype(np.uint8)
    masks = np.zeros((rows, SIDE_PX, SIDE_PX), np.uint8)
    for row, (top, left) in enumerate(draw.integers(0, 3, (rows, 2)) * 8):
        images[row, top : top + 16, left : left + 16] += 100
        masks[row, top : top + 16, left : left + 16] = 255
    return images, masks


IMAGES, MASKS = squares(ROWS)


def job_of(folder: Path, masks: NDArray[np.uint8], **settings: Any) -> Evaluating:  # noqa: ANN401
    pack = labelled_pack(folder, IMAGES, None)
    add_masks(pack, masks)
    return evaluating(OWN, pack, **settings)


def value(figures: tuple[Figure, ...], name: str) -> float:
    (found,) = (each.value for each in figures if each.name == name)
    return found


def test_figures_are_those_of_scikit_learn(tmp_path: Path) -> None:
    job = job_of(tmp_path / "pack", MASKS)
    plan = job.evaluator
    assert isinstance(plan, Segmentation)
    assert (plan.values, len(plan.train.rows), len(plan.test.rows)) == ((0, 255), 72, 8)
    assert not set(plan.train.rows.tolist()) & set(plan.test.rows.tolist())
    measured, bank = job.measure(), job.bank()

    def cells(rows: torch.Tensor) -> NDArray[np.float64]:
        maps = bank.dense(plan.train.source, rows, feature="backbone").numpy()
        return np.moveaxis(maps, 1, 3).reshape(-1, maps.shape[1]).astype(np.float64)

    truth = (MASKS[:, 4::8, 4::8] > 0).reshape(ROWS, -1)  # squares cover cells of 8 px whole
    scale = StandardScaler().fit(cells(plan.train.rows))
    classifier = LogisticRegression(C=1.0, tol=1e-9, max_iter=5000)
    classifier.fit(scale.transform(cells(plan.train.rows)), truth[plan.train.rows].ravel())
    tested, expected = scale.transform(cells(plan.test.rows)), truth[plan.test.rows].ravel()
    predicted = classifier.predict(tested)
    assert measured.signals["mean_iou"] == pytest.approx(
        jaccard_score(expected, predicted, average="macro")
    )
    assert measured.signals["pixel_auroc"] == pytest.approx(
        roc_auc_score(expected, classifier.predict_proba(tested)[:, 1]), abs=1e-4
    )
    ious = [row["iou"] for row in measured.tables["classes"]]
    np.testing.assert_allclose(
        np.array(ious, np.float64), jaccard_score(expected, predicted, average=None)
    )
    assert measured.signals["mean_iou"] > 0.6
    assert measured.notes == (TRAINED_ON,)
    (figure,) = (each for each in measured.figures if each.name == "mean_iou")
    assert (figure.n, figure.interval) == (8, "bootstrap")
    assert figure.low is not None
    assert figure.low <= figure.value

    baselines = job.baselines()
    assert baselines.signals.keys() == {
        *("mean_iou_raw", "mean_iou_untrained", "mean_iou_majority")
    }
    assert baselines.signals["mean_iou_untrained"] == measured.signals["mean_iou"]
    background = jaccard_score(expected, np.zeros_like(expected), average="macro")
    assert baselines.signals["mean_iou_majority"] == pytest.approx(background)
    assert {row["features"] for row in baselines.tables["classes"]} == {
        *("raw input", "untrained encoder", "majority class")
    }


def test_masks_at_random_are_not_found(tmp_path: Path) -> None:
    cells = np.random.default_rng(1).integers(0, 2, (ROWS, 4, 4)).astype(np.uint8)
    signals = job_of(tmp_path / "pack", cells.repeat(8, axis=1).repeat(8, axis=2)).measure().signals
    assert abs(signals["pixel_auroc"] - 0.5) < 0.2
    assert signals["mean_iou"] < 0.5


def test_the_order_of_test_images_changes_no_figure(tmp_path: Path) -> None:
    def figures(order: NDArray[np.int64]) -> tuple[Figure, ...]:
        folder = tmp_path / f"{order[0]}"
        packs = [labelled_pack(folder / name, IMAGES[rows], None) for name, rows in
                 {"pack": np.arange(50), "test": 50 + order}.items()]  # fmt: skip
        add_masks(packs[0], MASKS[:50])
        add_masks(packs[1], MASKS[50 + order])
        job = evaluating(OWN, packs[0], test=packs[1], test_dataset="y")
        assert job.evaluator.notes == ()
        return job.measure().figures

    one, other = figures(np.arange(30)), figures(np.arange(30)[::-1].copy())
    for name in ("mean_iou", "pixel_auroc"):
        assert value(one, name) == pytest.approx(value(other, name), abs=1e-9)


def test_rows_without_a_mask_have_no_part(tmp_path: Path) -> None:
    pack = labelled_pack(tmp_path / "pack", IMAGES, None)
    add_masks(pack, MASKS, masked=[row % 4 == 0 for row in range(ROWS)])
    plan = evaluating(OWN, pack).evaluator
    assert isinstance(plan, Segmentation)
    rows = torch.cat([plan.train.rows, plan.test.rows]).sort().values
    assert rows.tolist() == list(range(0, ROWS, 4))


def test_masks_are_seen_as_their_rows(tmp_path: Path) -> None:
    """A mask that is the image itself stays so after the crop and the change of size."""
    coarse = np.random.default_rng(2).integers(0, 2, (6, 5, 8)).astype(np.uint8)
    masks = coarse.repeat(8, axis=1).repeat(8, axis=2)  # 40 x 64 px
    pack = labelled_pack(tmp_path / "pack", (255 * masks)[..., None].repeat(3, axis=3), None)
    add_masks(pack, masks)
    job = evaluating(OWN, pack, views={"side_px": 20})
    plan, views, rows = job.evaluator, job.evaluation.views, torch.arange(6)
    pixels = views.plain(plan.test.source.whole(rows))[0][:, 0]
    seen = views.masks(plan.test.source.pack, rows, lows=plan.values)
    middle = (pixels.amin() + pixels.amax()) / 2
    assert float(((pixels > middle) == (seen == 1)).double().mean()) > 0.98


def test_a_cell_has_the_class_that_most_of_it_shows() -> None:
    maps = torch.tensor(np.random.default_rng(3).integers(0, 3, (2, 8, 8)).astype(np.uint8))
    found = cell_classes(maps, classes=3, grid=(2, 4))
    for image, down, across in np.ndindex(2, 2, 4):
        cell = maps[image, 4 * down : 4 * down + 4, 2 * across : 2 * across + 2]
        expected = int(np.bincount(cell.numpy().ravel(), minlength=3).argmax())
        assert int(found[image, down, across]) == expected


@pytest.mark.parametrize(
    ("masked", "filled", "reason"),
    [
        ([False] * ROWS, 1, "Segmentation needs images with masks"),
        ([True] + [False] * (ROWS - 1), 1, "Segmentation needs images with masks"),
        (None, 0, "All masks have the one value 0"),
    ],
)
def test_it_says_why_nothing_is_segmented(
    masked: list[bool] | None, filled: int, reason: str, tmp_path: Path
) -> None:
    pack = labelled_pack(tmp_path / "pack", IMAGES, None)
    add_masks(pack, np.full_like(MASKS, filled), masked=masked)
    evaluation = evaluating(OWN, pack).evaluation
    assert evaluation.evaluators == ()
    assert evaluation.not_measured[0].startswith(reason)


def test_masks_with_many_values_have_two_classes() -> None:
    assert class_values({0, 3, 7}) == (0, 3, 7)
    assert class_values(set(range(17))) == (0, 128)


def test_a_dataset_without_masks_is_refused() -> None:
    spec = JobSpec.model_validate({"dataset": "x", "evaluation": [{"name": "knn"}, OWN]})
    with pytest.raises(SpecError, match="add it again with --masks FOLDER") as refused:
        resolve(spec, made_up_facts(masked_rows=0))
    assert refused.value.field == "evaluation.1.name"
    assert resolve(spec, made_up_facts()).spec.evaluators[1].name == "segmentation"
