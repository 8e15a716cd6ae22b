"""Contact sheets of probes and their neighbours: one for the web page, one for people.

`tiles.png` has one line per probe: the probe and its neighbours, without gaps, for a page that
crops them. `sheet.png` has the same with captions.
"""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from trainer.exports.embedding_map import FAINT, INK, PAPER

TILE_PX = 96
GAP_PX = 8
MARGIN_PX = 20
PROBE_GAP_PX = 20
"""Gap between a probe and its neighbours."""
WORDS_PX = 36
HEADER_PX = 52
LETTERS_MAX = 13
WIDTH_PX_MIN = 620


class Cell(NamedTuple):
    """One image of a line."""

    image: NDArray[np.uint8]
    """[H, W, 3]"""
    above: str
    """First line under the image: its label, or its name without one."""
    below: str
    """Second line: how similar it is."""


Line = Sequence[Cell]
"""A probe and its neighbours, nearest first."""


def tiles(lines: Sequence[Line]) -> bytes:
    """Return `tiles.png`, with as many columns as the longest line has cells."""
    columns = max(len(line) for line in lines)
    picture = Image.new("RGB", (columns * TILE_PX, len(lines) * TILE_PX), PAPER)
    for y, line in enumerate(lines):
        for x, cell in enumerate(line):
            picture.paste(_tile(cell.image), (x * TILE_PX, y * TILE_PX))
    return _png(picture)


def sheet(
    lines: Sequence[Line], *, title: str, note: str, probe_gap_px: int = PROBE_GAP_PX
) -> bytes:
    """Return `sheet.png`, with labels and similarities, a title and a note.

    `probe_gap_px` is between the first image of a line and the others.
    """
    columns = max(len(line) for line in lines)
    width = 2 * MARGIN_PX + columns * (TILE_PX + GAP_PX) + probe_gap_px
    line_px = TILE_PX + WORDS_PX + GAP_PX
    height = HEADER_PX + len(lines) * line_px + MARGIN_PX
    picture = Image.new("RGB", (max(width, WIDTH_PX_MIN), height), PAPER)
    pen = ImageDraw.Draw(picture)
    pen.text((MARGIN_PX, 8), title, font=ImageFont.load_default(18), fill=INK)
    small = ImageFont.load_default(12)
    pen.text((MARGIN_PX, 31), note, font=small, fill=FAINT)
    for number, line in enumerate(lines):
        y = HEADER_PX + number * line_px
        for column, cell in enumerate(line):
            x = MARGIN_PX + column * (TILE_PX + GAP_PX) + (probe_gap_px if column else 0)
            picture.paste(_tile(cell.image), (x, y))
            pen.text((x, y + TILE_PX + 2), _short(cell.above), font=small, fill=INK)
            pen.text((x, y + TILE_PX + 17), cell.below, font=small, fill=FAINT)
    return _png(picture)


def _tile(image: NDArray[np.uint8]) -> Image.Image:
    """Return the center square, the part that the encoder gets.

    Small images are enlarged without smoothing.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(np.ascontiguousarray(image[top : top + side, left : left + side]))
    resampling = Image.Resampling.NEAREST if 2 * side <= TILE_PX else Image.Resampling.LANCZOS
    return square.resize((TILE_PX, TILE_PX), resampling)


def _short(word: str) -> str:
    """Return the end of a long name, which distinguishes it better than its start."""
    return word if len(word) <= LETTERS_MAX else "…" + word[1 - LETTERS_MAX :]


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()
