"""Magnetic tiles: defects as anomalies for an encoder that saw good tiles only."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suites.breadth.archives import Images, chosen, images_of
from benchmarks.suites.breadth.claim import Claim, Row
from benchmarks.suites.breadth.figures import Figure, Values, auroc, bootstrap, with_interval
from benchmarks.suites.breadth.jobs import Embedded, Experiment, embedded, over_seeds
from benchmarks.suites.breadth.lab import Lab, Piece
from benchmarks.suites.breadth.pixels import raw_pixels, unit
from trainer.spec.resolved import ResolvedSpec

GOOD, GOOD_ROWS, TRAINED_ROWS = "free", 952, 700
NEIGHBOURS = 5
RAW_SIDE_PX = 16
WANTED = 0.92
DATA = "magnetic tiles, 700 good ones to train on; 252 good and 392 defects asked"
PICTURE = "anomalies.png"
SETTINGS: Mapping[str, Any] = {
    "encoder": {"name": "small"},
    "method": {"name": "moco"},
    "batch_rows": 32,
    # Defects differ by brightness: views that change it would teach the encoder to ignore it.
    "views": {
        "side_px": 48,
        "crop_scale": (0.5, 1.0),
        "jitter_p": 0.0,
        "vertical_flip_p": 0.5,
    },
    "epochs": 30,
    "schedule": {"name": "cosine", "per": "step"},
    "evaluation": {"name": "anomaly", "every_epochs": 30, "normal": [GOOD], "k": NEIGHBOURS},
}
"""Settings of the method's recipes; not tuned on held-out tiles yet."""


def tiles(lab: Lab) -> Iterator[Row]:
    """Yield the rows of the anomaly score."""
    good, tested = tiles_images(lab)
    experiment = Experiment("tiles", SETTINGS, good, tested)

    def measure(spec: ResolvedSpec) -> Piece:
        trained = experiment.run(spec, lab)
        rows = [embedded(trained.artifacts, each.archive, lab) for each in (good, tested)]
        _keep_picture(trained.artifacts, lab.work / f"anomalies-{spec.seed}.png")
        return {**trained.signals, "scores": scores_of(*rows).tolist()}

    pieces = experiment.pieces(lab, measure)
    signals = over_seeds(
        {name: value for name, value in piece.items() if name != "scores"} for piece in pieces
    )
    scores = np.array([piece["scores"] for piece in pieces])
    yield _above_untrained(signals)
    yield from _beside_pixels(scores, good, tested)
    yield _looked_at(scores, tested)


def tiles_images(lab: Lab) -> tuple[Images, Images]:
    """Return the good tiles to train on, and all others."""
    path = lab.data / "magnetic-tile-96.zip"
    order = np.random.default_rng(0).permutation(GOOD_ROWS).tolist()

    def choice(name: str, *, trained: bool) -> str | None:
        folder, _, own = name.removeprefix("images/").partition("/")
        if not name.startswith("images/"):
            return None
        is_trained = folder == GOOD and own in first
        return f"{folder}/{own}" if is_trained == trained else None

    names = sorted(
        entry.name for entry in chosen(path, lambda n: n if f"images/{GOOD}/" in n else None)
    )
    first = {names[row].rpartition("/")[2] for row in order[:TRAINED_ROWS]}
    return (
        images_of(lab, "tiles-good", lambda: chosen(path, lambda n: choice(n, trained=True))),
        images_of(lab, "tiles-asked", lambda: chosen(path, lambda n: choice(n, trained=False))),
    )


def scores_of(bank: Embedded, rows: Embedded) -> Values:
    """Return the mean cosine distance of rows to the nearest ones of the bank, [N]."""
    similarity = np.sort(unit(rows.values) @ unit(bank.values).T, axis=1)
    return np.asarray(1.0 - similarity[:, -NEIGHBOURS:].mean(axis=1))


def _above_untrained(signals: Mapping[str, Figure]) -> Row:
    figure, untrained = signals["anomaly_auroc"], signals["anomaly_auroc_untrained"]
    gain = figure - untrained
    return Row(
        claim="anomaly: AUROC of defects",
        data=DATA,
        figure=str(figure),
        baseline=f"untrained {untrained}",
        wanted=f">= {WANTED}, and above the untrained encoder by more than 0 (it is {gain})",
        is_met=figure.mean >= WANTED and gain.interval[0] > 0.0,
    )


def _beside_pixels(scores: Values, good: Images, tested: Images) -> Iterator[Row]:
    """Yield the differences to raw pixels, as they are and without the mean of the good tiles."""
    defect = _defects(_pixels(tested).names)
    for title, mean in (("as they are", 0.0), ("without the mean good tile", _mean(good))):
        bank, rows = (_shifted(_pixels(images), mean) for images in (good, tested))
        raw = scores_of(bank, rows)

        def difference(some: Any, raw: Values = raw) -> float:  # noqa: ANN401 - rows
            areas = auroc(scores[:, some], defect[some]).mean(), auroc(raw[some], defect[some])
            return float(areas[0] - areas[1])

        value = difference(np.arange(len(defect)))
        bounds = bootstrap(difference, len(defect))
        yield Row(
            claim=f"anomaly: AUROC minus that of raw pixels, {title}",
            data=DATA,
            figure=f"{with_interval(value, bounds)}, paired bootstrap",
            baseline=f"raw pixels {float(auroc(raw, defect)):.3f} at {RAW_SIDE_PX} px",
            wanted="reported",
        )


def _looked_at(scores: Values, tested: Images) -> Row:
    names = np.array(_pixels(tested).names)
    defect = _defects(names.tolist())
    firsts = [np.argsort(-seed)[:12] for seed in scores]
    kinds = sorted({name.partition("/")[0] for first in firsts for name in names[first]})
    shares = ", ".join(f"{int(defect[first].sum())} of 12" for first in firsts)
    return Row(
        claim=f"anomaly: the most anomalous tiles of each seed are defects ({PICTURE})",
        data=DATA,
        figure=f"{shares}; kinds: {', '.join(kinds)}",
        baseline=f"{defect.mean():.2f} of all",
        wanted="looked at",
    )


def _pixels(images: Images) -> Embedded:
    names, values = raw_pixels(images.archive, RAW_SIDE_PX)
    return Embedded(names, np.array([name.partition("/")[0] for name in names]), values)


def _mean(images: Images) -> Values:
    return np.asarray(_pixels(images).values.mean(axis=0))


def _shifted(rows: Embedded, mean: float | Values) -> Embedded:
    return Embedded(rows.names, rows.labels, rows.values - mean)


def _defects(names: Sequence[str]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.array([not name.startswith(f"{GOOD}/") for name in names])


def _keep_picture(artifacts: Path, target: Path) -> None:
    for path in artifacts.rglob(PICTURE):
        shutil.copyfile(path, target)


CLAIMS = (
    Claim(
        name="tiles",
        kind="images",
        files=("magnetic-tile-96.zip",),
        settings=SETTINGS,
        measure=tiles,
    ),
)
