"""Random numbers of partners, by row, seed and epoch."""

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.positives.base import Rows
from trainer.rng.philox import uniforms
from trainer.rng.seeds import derived_seed


def drawn_below(bounds: NDArray[np.int64], *, rows: Rows, seed: int, epoch: int) -> Rows:
    """Return a number for each row, int64 [B], in [0, bound); 0 where the bound is 0."""
    key = derived_seed(seed, "partner")
    drawn = uniforms(torch.from_numpy(rows), seed=key, epoch=epoch, view=0, count=1)
    numbers: Rows = np.floor(drawn[:, 0].numpy().astype(np.float64) * bounds).astype(np.int64)
    return numbers
