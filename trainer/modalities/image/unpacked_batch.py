"""Images that are in no pack, as a batch."""

import numpy as np
import torch

from trainer.modalities.image.batch import PaddedImages
from trainer.modalities.image.decoded import Decoded
from trainer.modalities.image.values import PLAIN, stored, stored_row
from trainer.schema.events import ValueMapping


def pad_images(
    rows: list[Decoded], *, device: torch.device, values: ValueMapping = PLAIN
) -> PaddedImages:
    """Return decoded images as a batch, with the values that a pack would keep."""
    height, width = max(row.height for row in rows), max(row.width for row in rows)
    images = [stored_row(row, values) for row in rows]
    pixels = np.zeros((len(rows), height, width, rows[0].channels), images[0].dtype)
    for index, image in enumerate(images):
        pixels[index, : image.shape[0], : image.shape[1]] = image
    if pixels.dtype != np.uint8:
        pixels = pixels.view(np.int16)
    sizes = torch.tensor([[row.height, row.width] for row in rows], device=device)
    moved = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2)
    sent = torch.tensor([row.sent for row in rows], device=device)
    return PaddedImages(moved, sizes[:, 0], sizes[:, 1], stored(values), sent)
