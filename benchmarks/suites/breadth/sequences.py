"""Objects that turn: views of one side found from views of another, learned from neighbours."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.suites.breadth.archives import Entry, Images, chosen, images_of
from benchmarks.suites.breadth.claim import Claim, Row
from benchmarks.suites.breadth.figures import Values
from benchmarks.suites.breadth.jobs import Experiment, embedded, over_seeds
from benchmarks.suites.breadth.lab import Lab, Piece
from benchmarks.suites.breadth.pixels import nearest_label, raw_pixels
from trainer.spec.resolved import ResolvedSpec

STEP_DEGREES = 5
GALLERY, QUERIES = (0, 40), (135, 220)
"""First and last angle, in degrees."""
WANTED = 0.72
RAW_SIDE_PX = 16
SETTINGS: Mapping[str, Any] = {
    "encoder": {"name": "small"},
    "method": {"name": "simclr"},
    "positives": {"name": "neighbour", "window": 2.0},
    "views": {"side_px": 32, "flip_p": 0.0, "crop_scale": (0.5, 1.0)},
    "epochs": 8,
    "schedule": {"name": "cosine", "per": "step"},
    "evaluation": None,
}
"""Chosen by views of 45 to 130 degrees found from views of 270 to 310: .828, raw pixels .675."""


def coil20(lab: Lab) -> Iterator[Row]:
    """Yield the row of objects found from the other side."""
    images = coil20_images(lab)
    experiment = Experiment("coil20", SETTINGS, images)

    def measure(spec: ResolvedSpec) -> Piece:
        rows = embedded(experiment.run(spec, lab).artifacts, images.archive, lab)
        return {"found_ratio": found_ratio(rows.names, rows.values, GALLERY, QUERIES)}

    figure = over_seeds(experiment.pieces(lab, measure))["found_ratio"]
    raw = found_ratio(*raw_pixels(images.archive, RAW_SIDE_PX), GALLERY, QUERIES)
    yield Row(
        claim="neighbour: views of 135 to 220 degrees found from views of 0 to 40",
        data="COIL-20, transductive: trained without labels on all views, those asked among them",
        figure=str(figure),
        baseline=f"raw pixels {raw:.3f} at {RAW_SIDE_PX} px",
        wanted=f">= {WANTED}",
        is_met=figure.mean >= WANTED,
    )


def coil20_images(lab: Lab) -> Images:
    """Return all views, with their object as sequence and their number as time."""
    path = lab.data / "coil20-64.zip"

    def entries() -> Iterator[Entry]:
        for entry in chosen(path, str):
            object_name, number = place_of(entry.name)
            yield Entry(entry.name, entry.content, {"sequence": object_name, "time": str(number)})

    return images_of(lab, "coil20", entries)


def place_of(name: str) -> tuple[str, int]:
    """Return object and number of a view, from a name such as `images/obj1__0.png`."""
    object_name, _, number = name.rpartition("/")[2].partition(".")[0].partition("__")
    return object_name, int(number)


def found_ratio(
    names: tuple[str, ...], values: Values, gallery: tuple[int, int], queries: tuple[int, int]
) -> float:
    """Return the share of the asked views whose nearest view in the gallery shows their object."""
    places = [place_of(name) for name in names]
    objects = np.array([each for each, _ in places])
    angles = np.array([number * STEP_DEGREES for _, number in places])
    shown, wanted = (_within(angles, bounds) for bounds in (gallery, queries))
    nearest = nearest_label(values[wanted], values[shown], objects[shown])
    return float(np.mean(nearest == objects[wanted]))


def _within(angles: np.ndarray[Any, Any], bounds: tuple[int, int]) -> np.ndarray[Any, Any]:
    return (angles >= bounds[0]) & (angles <= bounds[1])


CLAIMS = (
    Claim(
        name="coil20",
        kind="images",
        files=("coil20-64.zip",),
        settings=SETTINGS,
        measure=coil20,
    ),
)
