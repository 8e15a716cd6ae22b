"""How a row becomes two views."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from trainer.data.spec import window_of
from trainer.schema.base import Record

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, le=2.0)]
Pair = Annotated[tuple[float, float], Field(strict=False)]


Channels = Annotated[tuple[float, ...], Field(strict=False, min_length=1, max_length=16)]
EvaluationCrop = Literal["square", "resize"]


class Moments(Record):
    """Constants of a normalization, one for each channel, for values in [0, 1]."""

    mean: Channels
    """Subtracted."""
    std: Annotated[
        tuple[Annotated[float, Field(gt=0.0)], ...],
        Field(strict=False, min_length=1, max_length=16),
    ]
    """Divided by, after the mean is subtracted."""

    @model_validator(mode="after")
    def _are_alike(self) -> "Moments":
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} values and std {len(self.std)}")
        return self


DATASET = "dataset"


def _two_values(text: str) -> str:
    if text != DATASET and window_of(text) is None:
        raise ValueError("dataset, or two numbers LOW:HIGH such as 860:1260, the lower first")
    return text


Window = Annotated[str, Field(min_length=3, max_length=64), AfterValidator(_two_values)]
"""Two values of a dataset's source, `LO:HI`, such as `860:1260`; `dataset` for its own range."""


class ViewsSpec(Record):
    """Random crop, flip, colour jitter, grey, blur and solarize, drawn for each row and view."""

    side_px: Annotated[int, Field(ge=8, le=512)] | None = None
    """Height and width of a view. Left out: from the dataset."""
    window: Window = DATASET
    """Values of the source that are seen as black and as white, such as `860:1260`."""
    crop_scale: Pair | None = None
    """Smallest and largest area of the crop, as a share of the image. Left out: from the side."""
    crop_ratio: Pair = (0.75, 4 / 3)
    """Smallest and largest width / height of the crop."""
    flip_p: Probability = 0.5
    """Chance of a mirrored view."""
    jitter_p: Probability = 0.8
    """Chance that colours are jittered (version 1 jitters always)."""
    brightness: Strength = 0.4
    """Factor drawn from [max(0, 1 - x), 1 + x]."""
    contrast: Strength = 0.4
    """Factor drawn from [max(0, 1 - x), 1 + x]."""
    saturation: Strength = 0.4
    """Factor drawn from [max(0, 1 - x), 1 + x]."""
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = 0.1
    """Shift drawn from [-x, x], in turns of the colour circle."""
    grey_p: Probability = 0.2
    """Chance of a view without colour."""
    grey_first: bool = False
    """Grey before jitter, as version 1 has it."""
    blur_p: Probability | None = None
    """Chance of a Gaussian blur. Left out: from the side."""
    blur_sigma_px: Pair = (0.1, 2.0)
    """Smallest and largest sigma of the blur."""
    solarize_p: Probability = 0.0
    """Chance that pixels above one half are inverted."""
    normalize: Literal["dataset", "imagenet"] | Moments = "dataset"
    """Mean and std of a view's channels: the dataset's own, ImageNet's, or stated ones."""
    evaluation_crop: EvaluationCrop | None = None
    """Without augmentation, shrink the shorter side and then cut the middle, as torchvision and
    timm do (`resize`), or cut the middle first, as earlier versions did. Left out: resize."""

    @model_validator(mode="after")
    def _pairs_rise(self) -> "ViewsSpec":
        for name in ("crop_scale", "crop_ratio", "blur_sigma_px"):
            pair = getattr(self, name)
            if pair is not None and not 0.0 < pair[0] <= pair[1]:
                raise ValueError(f"{name} must rise and be above 0, not {list(pair)}")
        if self.crop_scale is not None and self.crop_scale[1] > 1.0:
            raise ValueError(f"crop_scale ends above 1: {list(self.crop_scale)}")
        return self
