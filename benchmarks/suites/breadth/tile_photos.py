"""Photographs of magnetic tiles, and which of them show one tile.

Each tile was photographed at up to six exposures, `exp1` to `exp6`, under names that do not tell
which belong together.
"""

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse.csgraph import connected_components  # comes with scikit-learn

from benchmarks.suites.breadth.archives import Entry, Images, images_of
from benchmarks.suites.breadth.figures import Values
from benchmarks.suites.breadth.lab import Lab
from benchmarks.suites.breadth.pixels import raw_pixels, unit

ARCHIVE = "magnetic-tile-96.zip"
FOLDER, MASKS = "images/", "masks/"
GOOD, TRAINED_ROWS = "free", 700
SIDE_PX = 96
COMPARED_PX = 16


class Photos(NamedTuple):
    """All photographs by name."""

    names: tuple[str, ...]
    """Such as `images/free/exp1_num_10181.jpg`."""
    tiles: NDArray[np.int64]
    """[N] number of the tile."""

    @property
    def is_good(self) -> NDArray[np.bool_]:
        """True for photographs without a defect, [N]."""
        return np.array([kind_of(name) == GOOD for name in self.names])


class Parts(NamedTuple):
    """Names of photographs to train on, and of those to ask."""

    trained: list[str]
    test: list[str]


def kind_of(name: str) -> str:
    """Return the defect that a photograph shows, or `free`, from its name."""
    return name.removeprefix(FOLDER).partition("/")[0]


def photos(lab: Lab) -> Photos:
    """Return the photographs of the archive."""
    names, pixels = raw_pixels(lab.data / ARCHIVE, COMPARED_PX)
    rows = [row for row, name in enumerate(names) if name.startswith(FOLDER)]
    chosen = tuple(names[row] for row in rows)
    return Photos(chosen, tiles_of(chosen, pixels[rows]))


def tiles_of(names: tuple[str, ...], pixels: Values) -> NDArray[np.int64]:
    """Return a number for each photograph, the same for those that show one tile.

    Two of different exposures do where each is the other's most similar of its exposure, by the
    correlation of their pixels [N, D]; so do those that a third one joins.
    """
    exposures = np.array([name.rpartition("/")[2].partition("_")[0] for name in names])
    flat = unit(pixels - pixels.mean(axis=1, keepdims=True))
    similarity = flat @ flat.T
    best = np.zeros_like(similarity, np.bool_)
    for exposure in set(exposures.tolist()):
        rows = np.flatnonzero(exposures == exposure)
        best[np.arange(len(names)), rows[similarity[:, rows].argmax(axis=1)]] = True
    best &= exposures[:, None] != exposures
    _, tiles = connected_components(best & best.T, directed=False)
    return np.asarray(tiles, np.int64)


def at_random(all_photos: Photos) -> Parts:
    """Return 700 good photographs at random, and all others."""
    good = [name for name in all_photos.names if kind_of(name) == GOOD]
    order = np.random.default_rng(0).permutation(len(good))[:TRAINED_ROWS]
    trained = {good[row] for row in order.tolist()}
    return Parts(sorted(trained), [name for name in all_photos.names if name not in trained])


def by_tile(all_photos: Photos) -> Parts:
    """Return 700 good photographs of some tiles, and all photographs of the other tiles."""
    names, tiles = np.array(all_photos.names), all_photos.tiles
    spoiled = np.unique(tiles[~all_photos.is_good])
    candidates = np.setdiff1d(tiles, spoiled)
    trained = list[str]()
    taken = list[int]()
    for tile in np.random.default_rng(0).permutation(candidates).tolist():
        if len(trained) < TRAINED_ROWS:
            trained += names[tiles == tile].tolist()
            taken.append(tile)
    return Parts(trained[:TRAINED_ROWS], names[~np.isin(tiles, taken)].tolist())


def squares(
    lab: Lab, name: str, names: Callable[[], Iterable[str]], *, has_masks: bool = False
) -> Images:
    """Return chosen photographs as squares that show the whole tile, with masks if asked for."""

    def entries() -> Iterator[Entry]:
        with zipfile.ZipFile(lab.data / ARCHIVE) as archive:
            for each in names():
                own = each.removeprefix(FOLDER).rpartition(".")[0] + ".png"
                content = _square(archive.read(each), Image.Resampling.BILINEAR)
                if has_masks:
                    mask = archive.read(each.replace(FOLDER, MASKS).replace(".jpg", ".png"))
                    yield Entry(MASKS + own, _square(mask, Image.Resampling.NEAREST))
                    yield Entry(own, content, {"mask": MASKS + own})
                else:
                    yield Entry(own, content)

    return images_of(lab, name, entries)


def _square(content: bytes, resampling: Image.Resampling) -> bytes:
    with Image.open(io.BytesIO(content)) as image:
        square = image.convert("L").resize((SIDE_PX, SIDE_PX), resampling)
        square.save(out := io.BytesIO(), "png")
        return out.getvalue()
