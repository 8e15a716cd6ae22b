"""Images that are in no pack: those that `moco embed` reads, and query images."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainer.data.formats import FileFormats
from trainer.data.pack.format import Pack
from trainer.data.readers.items import Item
from trainer.data.spec import USUAL
from trainer.modalities.image.augment.augment import ImageAugmenter
from trainer.modalities.image.augment.spec import ResolvedViewsSpec
from trainer.modalities.image.batch import PaddedImages
from trainer.modalities.image.decode import decode_content, strict_pillow
from trainer.modalities.image.decoded import Decoded
from trainer.modalities.image.encoders.factory import build_encoder
from trainer.modalities.image.encoders.spec import EncoderSpec
from trainer.modalities.image.ingest import IMAGE_FORMATS
from trainer.modalities.image.preprocessing import Preprocessing, from_json
from trainer.modalities.image.query_image import decode_upload
from trainer.modalities.image.unpacked_batch import pad_images
from trainer.modalities.image.values import PLAIN, bounds_of, pictured, stored_row
from trainer.nn.views import Pixels


@dataclass(frozen=True, slots=True)
class ImageReader:
    """Decodes images as the dataset was, to the channels that the network takes."""

    steps: Preprocessing

    @property
    def formats(self) -> FileFormats:
        """Files of images."""
        return IMAGE_FORMATS

    def opened(self) -> AbstractContextManager[None]:
        """Limit what Pillow reads."""
        return strict_pillow()

    def decode(self, item: Item) -> Decoded:
        """Return an image. Raises BadRow, also where the values are of another kind."""
        changes = {
            "channels": len(self.steps.mean),
            "side_px_max": self.steps.stored_px,
            "shrink_filter": self.steps.shrink_filter,
            "alpha": self.steps.alpha,
        }
        row = decode_content(item.content(), USUAL.model_copy(update=changes))
        stored_row(row, self.steps.values)
        return row

    def view(self, rows: list[Decoded], device: torch.device) -> Pixels:
        """Return the center of each image, normalized."""
        padded = pad_images(rows, values=self.steps.values, device=device)
        return Pixels(_augmenter(self.steps, device).center_crop(padded))


@lru_cache(maxsize=1)
def _augmenter(steps: Preprocessing, device: torch.device) -> ImageAugmenter:
    """Return the augmenter of an encoder, the same for all batches."""
    spec = ResolvedViewsSpec(
        side_px=steps.side_px, evaluation_crop=steps.crop, crop_scale=(1.0, 1.0), blur_p=0.0
    )
    return ImageAugmenter(spec, mean=steps.mean, std=steps.std, device=device)


class UnpackedImages:
    """Images in no pack."""

    def encoder(
        self, folder: Path, *, config: dict[str, Any], preprocess: dict[str, Any]
    ) -> tuple[nn.Module, ImageReader]:
        """Return the network that `config.json` names, and the reader of `preprocess.json`."""
        del folder
        steps, ours = from_json(preprocess), config.get("mocoserve", {})
        spec = EncoderSpec(
            name=ours.get("architecture") or config["architecture"],
            stem=ours.get("stem", "auto"),
            channels=len(steps.mean),
            patch_px=ours.get("patch_px"),
        )
        return build_encoder(spec, side_px=steps.side_px), ImageReader(steps)

    def query(self, path: Path, pack: Pack) -> Decoded:
        """Read an image, upright, shrunk and kept as a row of the dataset. Raises BadProbe."""
        return decode_upload(path, pack.facts)

    def raw(self, query: Decoded, pack: Pack, device: torch.device) -> PaddedImages:
        """Return an image as a batch of one."""
        return pad_images([query], device=device, values=pack.facts.values or PLAIN)

    def picture(self, query: Decoded, pack: Pack) -> NDArray[np.uint8]:
        """Return an image in the dataset's range of values."""
        return pictured(stored_row(query, pack.facts.values or PLAIN), bounds_of(pack.facts))

    def text(self, query: Decoded) -> None:
        """Return None: images have no text."""


UNPACKED = UnpackedImages()
