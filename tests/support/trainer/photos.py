"""Photos, their batches, and the settings of views that do nothing but what a test adds."""

import torch
from torch import Tensor

from trainer.modalities.image.augment.spec import ResolvedViewsSpec
from trainer.modalities.image.batch import PaddedImages

SIDE_PX = 24
NOTHING = {
    "side_px": SIDE_PX, "crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "flip_p": 0.0,
    "jitter_p": 0.0, "grey_p": 0.0, "blur_p": 0.0, "evaluation_crop": "square",
}  # fmt: skip


def spec_of(**changes: object) -> ResolvedViewsSpec:
    return ResolvedViewsSpec.model_validate(NOTHING | changes)


def photos(sizes: list[tuple[int, int]]) -> list[Tensor]:
    """Images u8 with smooth regions, noise, grey areas and both ends of the range."""
    generator = torch.Generator().manual_seed(0)
    images = []
    for height, width in sizes:
        image = torch.rand((3, height, width), generator=generator)
        image[:, : height // 3] = torch.linspace(0, 1, width)
        image[:, height // 2 :, : width // 3] = 0.0
        image[:, height // 2 :, -width // 3 :] = 1.0
        images.append((image * 255).round().to(torch.uint8))
    return images


def batch_of(images: list[Tensor]) -> PaddedImages:
    heights = torch.tensor([image.shape[1] for image in images])
    widths = torch.tensor([image.shape[2] for image in images])
    pixels = torch.zeros((len(images), 3, int(heights.max()), int(widths.max())), dtype=torch.uint8)
    for place, image in zip(pixels, images, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image
    return PaddedImages(pixels, heights, widths)
