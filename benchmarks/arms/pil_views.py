"""Views the usual way: torchvision on one PIL image at a time, in the workers of a DataLoader.

The recipe of MoCo v2 (arXiv:2003.04297, its aug+), with the probabilities that all arms use.
"""

import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

SCALE = (0.2, 1.0)
JITTER, JITTER_P = (0.4, 0.4, 0.4, 0.1), 0.8
GREY_P = 0.2
BLUR_P, SIGMA_PX = 0.5, (0.1, 2.0)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's mean and standard deviation; their values do not affect speed."""

Pair = tuple[Tensor, Tensor]


class Blur:
    """Pillow's Gaussian blur with a sigma drawn evenly."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """Another image."""
        return image.filter(ImageFilter.GaussianBlur(radius=random.uniform(*SIGMA_PX)))


class TwoViews:
    """Transform of one image to two views, each float32 [3, side, side]."""

    def __init__(self, side_px: int) -> None:
        self._view = transforms.Compose(
            [
                transforms.RandomResizedCrop(side_px, scale=SCALE),
                transforms.RandomHorizontalFlip(),
                transforms.RandomApply([transforms.ColorJitter(*JITTER)], p=JITTER_P),
                transforms.RandomGrayscale(p=GREY_P),
                transforms.RandomApply([Blur()], p=BLUR_P),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __call__(self, image: Image.Image) -> Pair:
        """Return a freshly drawn view."""
        return self._view(image), self._view(image)


class FilePairs(Dataset[Pair]):
    """Dataset that opens the file of a row at each access."""

    def __init__(self, folder: str | Path, side_px: int) -> None:
        self._images = ImageFolder(str(folder), TwoViews(side_px))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> Pair:
        views: Pair = self._images[row][0]
        return views


class MemoryPairs(Dataset[Pair]):
    """Dataset that opens all files once, as torchvision's CIFAR-10 does."""

    def __init__(self, folder: str | Path, side_px: int) -> None:
        images = ImageFolder(str(folder))
        self._pixels = [np.asarray(image) for image, _ in images]
        self._views = TwoViews(side_px)

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, row: int) -> Pair:
        return self._views(Image.fromarray(self._pixels[row]))
