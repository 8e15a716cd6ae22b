"""A map of the embeddings: near things are alike to the encoder. One thumbnail or dot a row."""

import io
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from threadpoolctl import threadpool_limits

from trainer.data.pack.format import Pack
from trainer.exports.base import Export, write_file
from trainer.exports.embeddings import label_name, read_features
from trainer.modalities.outputs import Outputs, outputs_of
from trainer.schema.artifact_names import TABLE

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
DOT_PX, TEXT_PX = 4, 18
"""Radius of a dot, and height of the words beside it."""
LETTERS_MAX = 28
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
Mark = Image.Image | str
"""Thumbnail of a row, or words in its place."""


def files(export: Export) -> dict[str, str]:
    """Return the map."""
    outputs = outputs_of(export.spec)
    if outputs.picture(export.pack, 0) is not None:
        return {ATLAS: "a map of the embeddings with thumbnails"}
    words = "names" if outputs.text(export.pack, 0) is None else "first words"
    return {ATLAS: f"a map of the embeddings with {words} of {outputs.words.many}"}


def write(export: Export, folder: Path) -> None:
    """Draw the map from the table of embeddings."""
    outputs = outputs_of(export.spec)
    chosen = read_features(folder / TABLE, sample(export.pack.rows))
    shown, rows = len(chosen.rows), export.pack.rows
    picture = draw(
        [_mark(outputs, export.pack, int(row)) for row in chosen.rows],
        flatten(chosen.values, seed=export.spec.seed),
        labels=[label_name(export.pack, int(row)) for row in chosen.rows],
        title=export.spec.name or PurePath(export.spec.dataset).name,
        note=f"{shown:,} of {rows:,} {outputs.words.many}; the encoder finds near ones alike",
    )
    write_file(folder, ATLAS, picture)


def _mark(outputs: Outputs, pack: Pack, row: int) -> Mark:
    """Return the picture of a row, else the first words of its text, else its name."""
    picture = outputs.picture(pack, row)
    if picture is not None:
        return Image.fromarray(picture)
    return first_words(outputs.text(pack, row) or pack.name(row))


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
    marks: Sequence[Mark],
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
    frames = [None if label is None else colours[label] for label in labels]
    thumbs = [mark for mark in marks if not isinstance(mark, str)]
    if thumbs:
        _paste_thumbnails(picture, thumbs, flat, frames)
    else:
        draw_points(pen, [mark for mark in marks if isinstance(mark, str)], flat, frames)
    _write_words(pen, title, note, colours)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=False, compress_level=6)
    return buffer.getvalue()


def _paste_thumbnails(
    picture: Image.Image,
    thumbs: Sequence[Image.Image],
    flat: NDArray[np.float64],
    frames: Sequence[Rgb | None],
) -> None:
    """Paste each thumbnail into a cell of its own, in a frame of its label's colour."""
    pen = ImageDraw.Draw(picture)
    edge = (CELL_PX - THUMB_PX) // 2
    for thumb, cell, frame in zip(
        thumbs, cells(flat, columns=COLUMNS, lines=LINES), frames, strict=True
    ):
        x = MARGIN_PX + int(cell[0]) * CELL_PX
        y = HEADER_PX + int(cell[1]) * CELL_PX
        if frame is not None:
            pen.rectangle((x, y, x + CELL_PX - 2, y + CELL_PX - 2), fill=frame)
        picture.paste(thumbnail(thumb), (x + edge - 1, y + edge - 1))


def first_words(text: str, *, count: int = 3) -> str:
    """Return the first words of a text, at most `LETTERS_MAX` letters, with an ellipsis."""
    words = text.split()
    short = " ".join(words[:count])[:LETTERS_MAX]
    return short if short == " ".join(words) else f"{short}…"


def draw_points(
    pen: ImageDraw.ImageDraw,
    texts: Sequence[str],
    flat: NDArray[np.float64],
    fills: Sequence[Rgb | None],
) -> None:
    """Draw a dot a row, and beside it the row's words where no other words stand."""
    small = ImageFont.load_default(13)
    span = (SIDE_PX - 2 * MARGIN_PX, SIDE_PX - HEADER_PX - FOOTER_PX)
    places = (INSET + (1 - 2 * INSET) * flat) * span + (MARGIN_PX, HEADER_PX)
    taken = np.zeros((SIDE_PX, SIDE_PX), dtype=bool)
    for (x, y), text, fill in zip(places.round().astype(int), texts, fills, strict=True):
        pen.ellipse((x - DOT_PX, y - DOT_PX, x + DOT_PX, y + DOT_PX), fill=fill or OTHER)
        left, width = x + 2 * DOT_PX, int(pen.textlength(text, font=small)) + DOT_PX
        box = taken[y - TEXT_PX // 2 : y + TEXT_PX // 2, left : left + width]
        if left + width < SIDE_PX and not box.any():
            box[...] = True
            pen.text((left, y - TEXT_PX // 2), text, font=small, fill=INK)


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
