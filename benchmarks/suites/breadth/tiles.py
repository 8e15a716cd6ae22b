"""Magnetic tiles: defects as anomalies for an encoder that saw good tiles only.

Each tile was photographed at up to six exposures. Photographs split at random, as in most reports,
have other exposures of the asked good tiles among those to compare with: raw pixels then tell
whether a tile is known, not whether it is damaged. So the tiles are also split as wholes.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suites.breadth.archives import Images
from benchmarks.suites.breadth.claim import Claim, Row
from benchmarks.suites.breadth.figures import Figure, Values, auroc, bootstrap, with_interval
from benchmarks.suites.breadth.jobs import Embedded, Experiment, embedded, over_seeds
from benchmarks.suites.breadth.lab import Lab, Piece
from benchmarks.suites.breadth.pixels import raw_pixels, unit
from benchmarks.suites.breadth.tile_photos import (
    ARCHIVE,
    GOOD,
    Parts,
    Photos,
    at_random,
    by_tile,
    photos,
    squares,
)
from trainer.spec.resolved import ResolvedSpec

NEIGHBOURS = 5
RAW_SIDE_PX = 16
WANTED = 0.92
PICTURE = "anomalies.png"
SETTINGS: Mapping[str, Any] = {
    "encoder": {"name": "small"},
    "method": {"name": "moco"},
    "batch_rows": 32,
    # Photographs of one tile differ by exposure, which is no defect: views change brightness and
    # contrast, but keep most of a tile and its detail.
    "views": {
        "side_px": 48,
        "crop_scale": (0.5, 1.0),
        "saturation": 0.0,
        "hue": 0.0,
        "grey_p": 0.0,
        "blur_p": 0.0,
        "vertical_flip_p": 0.5,
    },
    "epochs": 30,
    "schedule": {"name": "cosine", "per": "step"},
    "evaluation": {"name": "anomaly", "every_epochs": 30, "normal": [GOOD], "k": NEIGHBOURS},
}
"""Settings of the method's recipes, and views for photographs of one tile; not tuned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A way to choose the photographs to train on."""

    name: str
    claim: str
    """Choice of the photographs, in words."""
    choose: Callable[[Photos], Parts]
    is_wanted: bool
    """True if the area wanted of the claim is asked of it."""

    def images(self, lab: Lab) -> tuple[Images, Images]:
        """Return the photographs to train on, and those to ask."""
        good = squares(lab, f"{self.name}-good", lambda: self.choose(photos(lab)).trained)
        test = squares(lab, f"{self.name}-asked", lambda: self.choose(photos(lab)).test)
        return good, test

    def experiment(self, lab: Lab) -> Experiment:
        """Return the job."""
        return Experiment(self.name, SETTINGS, *self.images(lab))


AT_RANDOM = Trial(
    name="tiles-at-random",
    claim="photographs at random, so other exposures of the asked good tiles are known",
    choose=at_random,
    is_wanted=True,
)
BY_TILE = Trial(
    name="tiles-by-tile",
    claim="no photograph of an asked tile is known",
    choose=by_tile,
    is_wanted=False,
)
TRIALS = (AT_RANDOM, BY_TILE)


def tiles(lab: Lab) -> Iterator[Row]:
    """Yield the rows of the anomaly score, for each way to choose photographs."""
    experiments = [trial.experiment(lab) for trial in TRIALS]
    lab.measure([task for each in experiments for task in each.tasks(lab, _measured(each, lab))])
    for trial, experiment in zip(TRIALS, experiments, strict=True):
        yield from rows_of(trial, experiment, lab)


def rows_of(trial: Trial, experiment: Experiment, lab: Lab) -> Iterator[Row]:
    """Yield the rows of one way to choose photographs."""
    assert experiment.test is not None
    good, test = _pixels(experiment.images), _pixels(experiment.test)
    pieces = experiment.pieces(lab, _measured(experiment, lab))
    signals = over_seeds(
        {name: value for name, value in piece.items() if name != "scores"} for piece in pieces
    )
    scores = np.array([piece["scores"] for piece in pieces])
    data = data_of(good, test)
    yield _above_untrained(trial, signals, data)
    yield from _beside_pixels(trial, scores, good, test)
    yield _looked_at(trial, scores, test)


def _measured(experiment: Experiment, lab: Lab) -> Callable[[ResolvedSpec], Piece]:
    def measure(spec: ResolvedSpec) -> Piece:
        assert experiment.test is not None
        trained = experiment.run(spec, lab)
        experiment.keep(trained, spec, lab)
        archives = experiment.images.archive, experiment.test.archive
        rows = [embedded(trained.artifacts, archive, lab) for archive in archives]
        _keep_picture(trained.artifacts, lab.work / f"{experiment.name}-{spec.seed}.png")
        return {**trained.signals, "scores": scores_of(*rows).tolist()}

    return measure


def scores_of(bank: Embedded, rows: Embedded) -> Values:
    """Return the mean cosine distance of rows to the nearest ones of the bank, [N]."""
    similarity = np.sort(unit(rows.values) @ unit(bank.values).T, axis=1)
    return np.asarray(1.0 - similarity[:, -NEIGHBOURS:].mean(axis=1))


def data_of(good: Embedded, test: Embedded) -> str:
    """Return the numbers of photographs in words."""
    defects = int(_defects(test.names).sum())
    return (
        f"magnetic tiles, {len(good.names)} good photographs to train on; "
        f"{len(test.names) - defects} good and {defects} with defects asked"
    )


def _above_untrained(trial: Trial, signals: Mapping[str, Figure], data: str) -> Row:
    figure, untrained = signals["anomaly_auroc"], signals["anomaly_auroc_untrained"]
    gain = figure - untrained
    wanted = f"above the untrained encoder by more than 0 (it is {gain})"
    return Row(
        claim=f"anomaly: AUROC of defects; {trial.claim}",
        data=data,
        figure=str(figure),
        baseline=f"untrained {untrained}",
        wanted=f">= {WANTED}, and {wanted}" if trial.is_wanted else wanted,
        is_met=gain.interval[0] > 0.0 and (figure.mean >= WANTED or not trial.is_wanted),
    )


def _beside_pixels(trial: Trial, scores: Values, good: Embedded, test: Embedded) -> Iterator[Row]:
    """Yield the differences to raw pixels, as they are and without the mean of the good tiles."""
    defect = _defects(test.names)
    for title, mean in (("as they are", 0.0), ("without the mean good tile", _mean(good))):
        raw = scores_of(_shifted(good, mean), _shifted(test, mean))

        def difference(some: Any, raw: Values = raw) -> float:  # noqa: ANN401 - rows
            areas = auroc(scores[:, some], defect[some]).mean(), auroc(raw[some], defect[some])
            return float(areas[0] - areas[1])

        value = difference(np.arange(len(defect)))
        bounds = bootstrap(difference, len(defect))
        yield Row(
            claim=f"anomaly: AUROC minus that of raw pixels, {title}; {trial.claim}",
            data=data_of(good, test),
            figure=f"{with_interval(value, bounds)}, paired bootstrap",
            baseline=f"raw pixels {float(auroc(raw, defect)):.3f} at {RAW_SIDE_PX} px",
            wanted="reported",
        )


def _looked_at(trial: Trial, scores: Values, test: Embedded) -> Row:
    names = np.array(test.names)
    defect = _defects(test.names)
    firsts = [np.argsort(-seed)[:12] for seed in scores]
    kinds = sorted({name.partition("/")[0] for first in firsts for name in names[first]})
    shares = ", ".join(f"{int(defect[first].sum())} of 12" for first in firsts)
    return Row(
        claim=f"anomaly: defects among the most anomalous of each seed ({PICTURE}); {trial.claim}",
        data="as above",
        figure=f"{shares}; kinds: {', '.join(kinds)}",
        baseline=f"{defect.mean():.2f} of all",
        wanted="looked at",
    )


def _pixels(images: Images) -> Embedded:
    names, values = raw_pixels(images.archive, RAW_SIDE_PX)
    return Embedded(names, np.array([name.partition("/")[0] for name in names]), values)


def _mean(rows: Embedded) -> Values:
    return np.asarray(rows.values.mean(axis=0))


def _shifted(rows: Embedded, mean: float | Values) -> Embedded:
    return Embedded(rows.names, rows.labels, rows.values - mean)


def _defects(names: Sequence[str]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.array([not name.startswith(f"{GOOD}/") for name in names])


def _keep_picture(artifacts: Path, target: Path) -> None:
    for path in artifacts.rglob(PICTURE):
        shutil.copyfile(path, target)


CLAIMS = (Claim(name="tiles", kind="images", files=(ARCHIVE,), settings=SETTINGS, measure=tiles),)
