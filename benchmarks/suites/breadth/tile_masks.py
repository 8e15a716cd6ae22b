"""Magnetic tiles: defects found in the feature map of the encoder that saw good tiles only."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.suites.breadth.archives import Images
from benchmarks.suites.breadth.claim import Claim, Row
from benchmarks.suites.breadth.figures import Figure
from benchmarks.suites.breadth.jobs import Experiment
from benchmarks.suites.breadth.lab import Lab, Piece, Task
from benchmarks.suites.breadth.networks import encoder_alone, evaluated
from benchmarks.suites.breadth.tile_photos import ARCHIVE, Parts, Photos, photos, squares
from benchmarks.suites.breadth.tiles import BY_TILE, SETTINGS
from trainer.spec.resolved import ResolvedSpec

TEST_SHARE = 1 / 3
SEGMENTATION: Mapping[str, Any] = {
    **SETTINGS,
    "evaluation": {"name": "segmentation", "every_epochs": SETTINGS["epochs"]},
}
"""Spec of the encoder, with another evaluator."""


def tile_masks(lab: Lab) -> Iterator[Row]:
    """Yield the row of defects in the feature map."""
    train, test = masked_images(lab)
    donor = BY_TILE.experiment(lab)
    job = Experiment("tiles-masked", SEGMENTATION, train, test)
    tasks = [_task(job.spec(seed), job, donor, lab) for seed in range(lab.seeds)]
    pieces = lab.pieces(tasks)
    trained, untrained = (
        Figure(tuple(piece[name] for piece in pieces)) for name in ("mean_iou", "untrained")
    )
    gain = trained - untrained
    by_seed = ", ".join(f"{value:+.3f}" for value in gain.by_seed)
    yield Row(
        claim="segmentation: mean IoU of a linear classifier of the feature map",
        data="magnetic tiles, the encoder that saw 700 good photographs; masks of two thirds of "
        "the damaged tiles to train the classifier on, the other tiles asked",
        figure=str(trained),
        baseline=f"random encoder {untrained}",
        wanted=f"above the random encoder with each seed (it is {by_seed})",
        is_met=min(gain.by_seed) > 0.0,
    )


def masked_images(lab: Lab) -> tuple[Images, Images]:
    """Return photographs with masks to train the classifier on, and those of other tiles to ask."""
    train = squares(lab, "tiles-masked", lambda: masked_parts(photos(lab)).trained, has_masks=True)
    test = squares(
        lab, "tiles-masked-asked", lambda: masked_parts(photos(lab)).test, has_masks=True
    )
    return train, test


def masked_parts(all_photos: Photos) -> Parts:
    """Return the photographs of two thirds of the damaged tiles, and those of the others."""
    names = np.array(all_photos.names)[~all_photos.is_good]
    tiles = all_photos.tiles[~all_photos.is_good]
    order = np.random.default_rng(0).permutation(np.unique(tiles))
    is_asked = np.isin(tiles, order[: round(TEST_SHARE * len(order))])
    return Parts(names[~is_asked].tolist(), names[is_asked].tolist())


def _task(spec: ResolvedSpec, job: Experiment, donor: Experiment, lab: Lab) -> Task:
    trained = donor.spec(spec.seed)
    settings = {"masked": spec.model_dump(mode="json"), "donor": trained.model_dump(mode="json")}
    measure = partial(_mean_ious, spec, trained, job, donor, lab)
    return Task(f"tiles-masked-{spec.seed}", settings, measure)


def _mean_ious(
    spec: ResolvedSpec, trained: ResolvedSpec, job: Experiment, donor: Experiment, lab: Lab
) -> Piece:
    networks = {
        "mean_iou": encoder_alone(spec, donor.encoder(trained, lab)),
        "untrained": encoder_alone(spec),
    }
    return {
        name: evaluated(network, spec, job.images, job.test, normalized_as=donor.images)["mean_iou"]
        for name, network in networks.items()
    }


CLAIMS = (
    Claim(
        name="tile_masks",
        kind="images",
        files=(ARCHIVE,),
        settings=SEGMENTATION,
        measure=tile_masks,
    ),
)
