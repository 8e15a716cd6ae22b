"""Augmentation settings."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from trainer.data.spec import window_of
from trainer.modalities.spec import AnyViewsSpec
from trainer.schema.base import Record

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, le=2.0)]
Pair = Annotated[tuple[float, float], Field(strict=False)]
Hue = Annotated[float, Field(ge=0.0, le=0.5)]
Degrees = Annotated[float, Field(gt=0.0, le=180.0)]
NoiseSigma = Annotated[float, Field(gt=0.0, le=1.0)]
Channels = Annotated[tuple[float, ...], Field(strict=False, min_length=1, max_length=16)]
EvaluationCrop = Literal["square", "resize"]


class Moments(Record):
    """Constants of a normalization, one for each channel, for values in [0, 1]."""

    mean: Channels
    """Value to subtract."""
    std: Annotated[
        tuple[Annotated[float, Field(gt=0.0)], ...],
        Field(strict=False, min_length=1, max_length=16),
    ]
    """Value to divide by, after subtracting the mean."""

    @model_validator(mode="after")
    def _are_alike(self) -> "Moments":
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} values and std {len(self.std)}")
        return self


OPTIONAL = (
    *("vertical_flip_p", "quarter_turn_p", "rotation_p"),
    *("noise_p", "channel_drop_p", "erase_p"),
)
"""Probabilities of the augmentations that are off by default."""
DATASET = "dataset"
SMALL_SIDE_PX = 64
"""Up to this side the authors' CIFAR recipe is the model, above it their ImageNet recipe."""


def check_pairs(spec: Record) -> None:
    """Raise ValueError unless the ranges of a view's settings rise and shares are at most 1."""
    for name in ("crop_scale", "crop_ratio", "blur_sigma_px", "erase_scale", "erase_ratio"):
        pair = getattr(spec, name)
        if pair is not None and not 0.0 < pair[0] <= pair[1]:
            raise ValueError(f"{name} must rise and be above 0, not {list(pair)}")
    for name in ("crop_scale", "erase_scale"):
        share = getattr(spec, name)
        if share is not None and share[1] > 1.0:
            raise ValueError(f"{name} ends above 1: {list(share)}")


def _two_values(text: str) -> str:
    if text != DATASET and window_of(text) is None:
        raise ValueError("dataset, or two numbers LOW:HIGH such as 860:1260, the lower first")
    return text


Window = Annotated[str, Field(min_length=3, max_length=64), AfterValidator(_two_values)]
"""Two values of a dataset's source, `LO:HI`, such as `860:1260`; `dataset` for its own range."""


class SecondViewSpec(Record):
    """Augmentation settings of the second view; what is left out is as in the first."""

    crop_scale: Pair | None = None
    """Minimum and maximum area of the crop, as a share of the image."""
    crop_ratio: Pair | None = None
    """Minimum and maximum aspect ratio of the crop (width / height)."""
    flip_p: Probability | None = None
    """Probability of a horizontal flip."""
    jitter_p: Probability | None = None
    """Probability of color jitter."""
    brightness: Strength | None = None
    """Factor drawn from [max(0, 1 - x), 1 + x]."""
    contrast: Strength | None = None
    """Factor drawn from [max(0, 1 - x), 1 + x]."""
    saturation: Strength | None = None
    """Factor drawn from [max(0, 1 - x), 1 + x]."""
    hue: Hue | None = None
    """Hue shift drawn from [-x, x], as a fraction of the color circle."""
    grey_p: Probability | None = None
    """Probability of grayscale."""
    grey_first: bool | None = None
    """Apply grayscale before jitter."""
    blur_p: Probability | None = None
    """Probability of a Gaussian blur."""
    blur_sigma_px: Pair | None = None
    """Minimum and maximum sigma of the blur."""
    solarize_p: Probability | None = None
    """Probability of inverting pixels above one half (solarize)."""
    vertical_flip_p: Probability | None = None
    """Probability of a vertical flip."""
    quarter_turn_p: Probability | None = None
    """Probability of a turn by 90, 180 or 270 degrees."""
    rotation_p: Probability | None = None
    """Probability of a rotation by `rotation_degrees`."""
    rotation_degrees: Degrees | None = None
    """Angle drawn from [-x, x]."""
    noise_p: Probability | None = None
    """Probability of Gaussian noise."""
    noise_sigma: NoiseSigma | None = None
    """Standard deviation of the noise, for values in [0, 1]."""
    channel_drop_p: Probability | None = None
    """Probability that one channel is set to its mean."""
    erase_p: Probability | None = None
    """Probability of random erasing."""
    erase_scale: Pair | None = None
    """Minimum and maximum area of the erased rectangle, as a share of the view."""
    erase_ratio: Pair | None = None
    """Minimum and maximum aspect ratio of the erased rectangle (height / width)."""

    @property
    def stated(self) -> dict[str, Any]:
        """The settings that are not left out, by name."""
        return {name: value for name, value in self.__dict__.items() if value is not None}

    @model_serializer(mode="wrap")
    def _of_stated(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if value is not None}

    @model_validator(mode="after")
    def _pairs_rise(self) -> "SecondViewSpec":
        check_pairs(self)
        return self


def _kind_of_second(value: object) -> str | None:
    if isinstance(value, dict | SecondViewSpec):
        return "settings"
    return "word" if value == "same" else None


SecondView = Annotated[
    Annotated[Literal["same"], Tag("word")] | Annotated[SecondViewSpec, Tag("settings")],
    Discriminator(
        _kind_of_second,
        custom_error_type="unknown_second_view",
        custom_error_message="second must be the word same, or an object of settings that differ",
    ),
]


class ViewsSpec(AnyViewsSpec):
    """Random crop, flip, color jitter, grayscale, blur and solarize, drawn per image and view."""

    modality: ClassVar[str] = "image"
    size_fields: ClassVar[tuple[str, ...]] = ("side_px", "count")

    side_px: Annotated[int, Field(ge=8, le=512)] | None = None
    """Height and width of a view. Default: chosen from the dataset."""
    window: Window = DATASET
    """Source values mapped to black and white, such as `860:1260`."""
    crop_scale: Pair | None = None
    """Minimum and maximum area of the crop, as a share of the image. Default: chosen from the image
    size.
    """
    crop_ratio: Pair = (0.75, 4 / 3)
    """Minimum and maximum aspect ratio of the crop (width / height)."""
    flip_p: Probability = 0.5
    """Probability of a horizontal flip."""
    jitter_p: Probability = 0.8
    """Probability of color jitter (MoCo v1: always)."""
    brightness: Strength = 0.4
    """Factor drawn from [max(0, 1 - x), 1 + x]."""
    contrast: Strength = 0.4
    """Factor drawn from [max(0, 1 - x), 1 + x]."""
    saturation: Strength = 0.4
    """Factor drawn from [max(0, 1 - x), 1 + x]."""
    hue: Hue = 0.1
    """Hue shift drawn from [-x, x], as a fraction of the color circle."""
    grey_p: Probability = 0.2
    """Probability of grayscale."""
    grey_first: bool = False
    """Apply grayscale before jitter, as in MoCo v1."""
    blur_p: Probability | None = None
    """Probability of a Gaussian blur. Default: chosen from the image size."""
    blur_sigma_px: Pair = (0.1, 2.0)
    """Minimum and maximum sigma of the blur."""
    solarize_p: Probability = 0.0
    """Probability of inverting pixels above one half (solarize)."""
    normalize: Literal["dataset", "imagenet"] | Moments = "dataset"
    """Mean and std per channel: the dataset's own, ImageNet's, or given values."""
    evaluation_crop: EvaluationCrop | None = None
    """Without augmentation, shrink the shorter side and then cut the middle, as torchvision and
    timm do (`resize`), or cut the middle first, as earlier versions did. Default: resize."""
    vertical_flip_p: Probability = 0.0
    """Probability of a vertical flip."""
    quarter_turn_p: Probability = 0.0
    """Probability of a turn by 90, 180 or 270 degrees, each as likely as the others."""
    rotation_p: Probability = 0.0
    """Probability of a rotation by `rotation_degrees`; bilinear, mirrored beyond the border."""
    rotation_degrees: Degrees = 15.0
    """Angle drawn from [-x, x]."""
    noise_p: Probability = 0.0
    """Probability of Gaussian noise."""
    noise_sigma: NoiseSigma = 0.1
    """Standard deviation of the noise, for values in [0, 1]; the result is cut to [0, 1]."""
    channel_drop_p: Probability = 0.0
    """Probability that one channel, drawn evenly, is set to its mean."""
    erase_p: Probability = 0.0
    """Probability of random erasing: a rectangle is set to the mean (arXiv:1708.04896)."""
    erase_scale: Pair = (0.02, 0.33)
    """Minimum and maximum area of the rectangle, as a share of the view."""
    erase_ratio: Pair = (0.3, 3.3)
    """Minimum and maximum aspect ratio of the rectangle (height / width)."""
    second: SecondView | None = None
    """Settings that differ in the second view, and in any after it, such as `{"blur_p": 0.1,
    "solarize_p": 0.2}`; `same` for none. Default: chosen from the method and the image size."""

    @property
    def is_small(self) -> bool:
        """True up to 64 px."""
        return (self.side_px or 0) <= SMALL_SIDE_PX

    @property
    def optional(self) -> tuple[str, ...]:
        """Names of the augmentations that are off by default and may happen."""
        return tuple(name for name in OPTIONAL if getattr(self, name) > 0.0)

    @property
    def size(self) -> str:
        """Side of a view in words."""
        return f"{self.side_px} px"

    @model_validator(mode="after")
    def _pairs_rise(self) -> "ViewsSpec":
        check_pairs(self)
        return self


class ResolvedViewsSpec(ViewsSpec):
    """Augmentation settings with every value."""

    side_px: int
    crop_scale: Pair
    blur_p: float
    evaluation_crop: EvaluationCrop
    second: SecondView = "same"

    def of_second(self) -> "ResolvedViewsSpec":
        """Return the settings of the second view, alone; this object if they are the same."""
        stated = {} if self.second == "same" else self.second.stated
        if not stated:
            return self
        return self.model_copy(update=stated | {"second": "same"})
