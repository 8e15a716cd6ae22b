"""Pictures as cameras make them, in that their detail falls off with 1 / f: noise and shapes."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

FIELD_PX = 1300


def _field(draw: np.random.Generator) -> NDArray[np.float32]:
    """Return noise whose amplitude falls with 1 / f, [side, side], with mean 0 and std 1."""
    frequencies = np.hypot(np.fft.fftfreq(FIELD_PX)[:, None], np.fft.rfftfreq(FIELD_PX)[None, :])
    frequencies[0, 0] = np.inf
    shape = frequencies.shape
    spectrum = (draw.normal(size=shape) + 1j * draw.normal(size=shape)) / frequencies
    noise = np.fft.irfft2(spectrum, s=(FIELD_PX, FIELD_PX))
    pixels: NDArray[np.float32] = (noise / noise.std()).astype(np.float32)
    return pixels


def write_pictures(
    folder: Path, count: int, *, sides_px: tuple[int, int] = (300, 1200), suffix: str = "png"
) -> list[Path]:
    """Write `count` pictures with sides drawn from a range; return their paths in order."""
    draw = np.random.default_rng(13)
    field = np.stack([_field(draw) for _ in range(3)], axis=-1)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        height, width = (int(side) for side in draw.integers(*sides_px, 2, endpoint=True))
        top, left = (int(draw.integers(FIELD_PX - side + 1)) for side in (height, width))
        noise = field[top : top + height, left : left + width]
        levels = draw.uniform(60, 190) + draw.uniform(15, 45) * noise
        image = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
        _add_shapes(image, draw)
        paths.append(folder / f"{number:03d}.{suffix}")
        image.save(paths[-1], compress_level=1, quality=92)
    return paths


def _add_shapes(image: Image.Image, draw: np.random.Generator) -> None:
    pen = ImageDraw.Draw(image)
    for _ in range(int(draw.integers(3, 9))):
        x, y = draw.uniform(0, image.width), draw.uniform(0, image.height)
        across, down = draw.uniform(10, 0.4 * max(image.size), 2)
        color = tuple(int(level) for level in draw.integers(0, 256, 3))
        shape = pen.ellipse if draw.random() < 0.5 else pen.rectangle
        shape((x, y, x + across, y + down), fill=color)
