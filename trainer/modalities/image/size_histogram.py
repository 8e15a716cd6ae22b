"""Histogram of image sizes with fixed bins, counted during ingest."""

from bisect import bisect_right

from trainer.schema.events import SideHistogram

EDGES_PX = (
    1,
    *sorted({2**power for power in range(1, 32)} | {3 * 2**power for power in range(31)}),
)
"""Two bins to each doubling, 1, 2, 3, 4, 6, 8, 12 and so on past what any format can say."""


class SideCounter:
    """Counts shorter sides. It holds one number for each bin, however many images there are."""

    def __init__(self) -> None:
        self._rows = [0] * (len(EDGES_PX) - 1)

    def add(self, side_px: int) -> None:
        """Count an image by its shorter side, 1 px or more."""
        self._rows[bisect_right(EDGES_PX, side_px) - 1] += 1

    def histogram(self) -> SideHistogram:
        """Return the bins from the first to the last that holds an image, of which there is one."""
        held = [index for index, rows in enumerate(self._rows) if rows]
        first, end = held[0], held[-1] + 1
        return SideHistogram(edges_px=EDGES_PX[first : end + 1], rows=tuple(self._rows[first:end]))
