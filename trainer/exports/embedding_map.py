"""A map of the embeddings: near things look alike to the encoder. One thumbnail a row."""

import io
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from threadpoolctl import threadpool_limits

from trainer.exports.base import Export, write_file
from trainer.exports.embeddings import label_name, read_features
from trainer.modalities.image.values import row_picture
from trainer.schema.artifact_names import TABLE

MODALITY = "image"
ATLAS = "atlas.png"

SIDE_PX = 1600
CELL_PX = 30
THUMB_PX = 26
MARGIN_PX = 20
HEADER_PX = 60
FOOTER_PX = 50
ROWS_MAX = 1000
"""Thumbnails of one map: two fifths of its cells, so that the gaps between groups stay."""
TSNE_ROWS_MIN = 12
INSET = 0.06
"""Share of the map left free at each edge for the groups there to grow into."""
COLUMNS = (SIDE_PX - 2 * MARGIN_PX) // CELL_PX
LINES = (SIDE_PX - HEADER_PX - FOOTER_PX) // CELL_PX

PAPER, INK, FAINT = (250, 250, 248), (32, 33, 36), (120, 122, 128)
# Twelve hues that most people can distinguish; further labels share the last, gray one.
COLOURS = (
    (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75),
    (227, 119, 194), (23, 190, 207), (188, 189, 34), (0, 90, 80), (250, 190, 60), (90, 90, 200),
)  # fmt: skip
OTHER = (150, 150, 150)

Rgb = tuple[int, int, int]


def files(_export: Export) -> dict[str, str]:
    """Return the map."""
    return {ATLAS: "a map of the embeddings with thumbnails"}


def write(export: Export, folder: Path) -> None:
    """Draw the map from the table of embeddings."""
    chosen = read_features(folder / TABLE, sample(export.pack.rows))
    shown, rows = len(chosen.rows), export.pack.rows
    picture = draw(
        [Image.fromarray(row_picture(export.pack, int(row))) for row in chosen.rows],
        flatten(chosen.values, seed=export.spec.seed),
        labels=[label_name(export.pack, int(row)) for row in chosen.rows],
        title=export.spec.name or PurePath(export.spec.dataset).name,
        note=f"{shown:,} of {rows:,} images; the encoder finds near ones alike",
    )
    write_file(folder, ATLAS, picture)


def sample(rows: int, *, most: int = ROWS_MAX) -> NDArray[np.int64]:
    """Return at most `most` row numbers, evenly spaced."""
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).round().astype(np.int64))


def flatten(features: NDArray[np.float32], *, seed: int) -> NDArray[np.float64]:
    """Two coordinates in [0, 1] for each feature: t-SNE on the first 50 principal components.

    Few rows, or rows that are all alike, are shown by their principal components. One thread, so
    that the same features give the same map. Source: van der Maaten & Hinton 2008.
    """
    unit = features.astype(np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    with threadpool_limits(limits=1):
        flat = _projected(unit - unit.mean(axis=0), seed=seed)
    flat -= flat.min(axis=0)
    return np.asarray(flat / np.maximum(flat.max(axis=0), 1e-12))


def _projected(centred: NDArray[np.float64], *, seed: int) -> NDArray[np.float64]:
    from sklearn.decomposition import PCA  # noqa: PLC0415 - slow, and not needed before the end
    from sklearn.manifold import TSNE  # noqa: PLC0415

    rows, dim = centred.shape
    if rows < 2 or centred.std() < 1e-9:
        return np.zeros((rows, 2))
    reduced = PCA(n_components=min(50, rows, dim), svd_solver="full").fit_transform(centred)
    if rows < TSNE_ROWS_MIN or reduced.shape[1] < 2:
        return np.asarray(np.pad(reduced, ((0, 0), (0, 2)))[:, :2])
    start = reduced[:, :2] / reduced[:, 0].std() * 1e-4
    tsne = TSNE(
        perplexity=min(30.0, (rows - 1) / 3), init=start, random_state=seed % 2**32, n_jobs=1
    )
    return np.asarray(tsne.fit_transform(reduced), dtype=np.float64)


def cells(flat: NDArray[np.float64], *, columns: int, lines: int) -> NDArray[np.int64]:
    """Return a cell [row, (column, line)] of its own for each point, near the point.

    Points in dense regions choose first, so that clusters grow outwards.
    """
    wanted = (INSET + (1 - 2 * INSET) * flat) * (columns - 1, lines - 1)
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(lines)), axis=-1).reshape(-1, 2)
    free = np.ones(len(grid), dtype=bool)
    crowd = np.sqrt(((wanted[:, None] - wanted[None]) ** 2).sum(-1)).mean(axis=1)
    chosen = np.zeros((len(flat), 2), dtype=np.int64)
    for point in np.argsort(crowd, kind="stable"):
        distance = ((grid - wanted[point]) ** 2).sum(axis=1)
        best = int(np.where(free, distance, np.inf).argmin())
        free[best] = False
        chosen[point] = grid[best]
    return chosen


def draw(
    thumbs: Sequence[Image.Image],
    flat: NDArray[np.float64],
    *,
    labels: Sequence[str | None],
    title: str,
    note: str,
) -> bytes:
    """The map as PNG bytes, `SIDE_PX` high and wide; a frame's colour is the row's label."""
    picture = Image.new("RGB", (SIDE_PX, SIDE_PX), PAPER)
    pen = ImageDraw.Draw(picture)
    colours = _colours(labels)
    edge = (CELL_PX - THUMB_PX) // 2
    for thumb, cell, label in zip(
        thumbs, cells(flat, columns=COLUMNS, lines=LINES), labels, strict=True
    ):
        x = MARGIN_PX + int(cell[0]) * CELL_PX
        y = HEADER_PX + int(cell[1]) * CELL_PX
        if label is not None:
            pen.rectangle((x, y, x + CELL_PX - 2, y + CELL_PX - 2), fill=colours[label])
        picture.paste(thumbnail(thumb), (x + edge - 1, y + edge - 1))
    _write_words(pen, title, note, colours)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=False, compress_level=6)
    return buffer.getvalue()


def thumbnail(image: Image.Image) -> Image.Image:
    """The centre square of an image, `THUMB_PX` wide."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square.resize((THUMB_PX, THUMB_PX), Image.Resampling.LANCZOS)


def _colours(labels: Sequence[str | None]) -> dict[str, Rgb]:
    names = sorted({label for label in labels if label is not None})
    return {
        name: COLOURS[number] if number < len(COLOURS) else OTHER
        for number, name in enumerate(names)
    }


def _write_words(pen: ImageDraw.ImageDraw, title: str, note: str, colours: dict[str, Rgb]) -> None:
    pen.text((MARGIN_PX, 12), title, font=ImageFont.load_default(24), fill=INK)
    small = ImageFont.load_default(16)
    width = pen.textlength(note, font=small)
    pen.text((SIDE_PX - MARGIN_PX - width, 20), note, font=small, fill=FAINT)
    x, y = MARGIN_PX, SIDE_PX - FOOTER_PX + 18
    for name, colour in list(colours.items())[: len(COLOURS)]:
        word = name if len(name) <= 16 else name[:15] + "…"
        if x + 24 + pen.textlength(word, font=small) > SIDE_PX - MARGIN_PX:
            break
        pen.rectangle((x, y, x + 14, y + 14), fill=colour)
        pen.text((x + 20, y - 2), word, font=small, fill=INK)
        x += 44 + int(pen.textlength(word, font=small))
