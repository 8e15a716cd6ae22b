"""Defaults of images, each with its reason. Loads no tensors."""

from collections.abc import Set as AbstractSet
from typing import Any

from trainer.modalities.image.augment.normalization import normalization
from trainer.modalities.image.encoders import patches
from trainer.modalities.image.encoders.stems import check_stem
from trainer.modalities.image.resolution_warning import enlarged_views
from trainer.modalities.image.spec import (
    SecondViewSpec,
    image_encoder,
    image_views,
)
from trainer.schema.errors import SpecError
from trainer.schema.events import DatasetFacts, DataWarning
from trainer.spec.job import JobSpec
from trainer.spec.resolved import ResolvedSpec
from trainer.spec.rules import Choice, Rules, filled

RGB = 3
STRONG = ("jitter_p", "grey_p")
"""Probabilities of augmentations that a classifier is not trained with by default."""
COLOUR = ("saturation", "hue", "grey_p")
"""Fields of the views that need red, green and blue."""
BLUR_P, SOLARIZE_P = (1.0, 0.1), 0.2
"""Probabilities of a blur in the first and in the second view of BYOL and MoCo v3, and of solarize
in the second: arXiv:2006.07733, appendix B, and MoCo v3's main_moco.py."""


def _side(_spec: JobSpec, facts: DatasetFacts) -> Choice:
    side = facts.side_px_median
    if side <= 96:
        return max(8, side // 4 * 4), f"the median image has a shorter side of {side} px"
    side = min(224, side // 32 * 32)
    return side, f"224 px, or the median shorter side ({facts.side_px_median} px) if that is less"


def _channels(_spec: JobSpec, facts: DatasetFacts) -> Choice:
    return facts.channels, "the channels of the dataset"


def _crop(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    if spec.views.is_small and not spec.encoder.is_quick:
        return (0.08, 1.0), "the MoCo authors' value for CIFAR-10"
    return (0.2, 1.0), "the value of MoCo v1 and v2"


def _blur(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    if spec.views.is_small:
        return 0.0, "up to 64 px, blur removes too much detail"
    is_unlike = image_views(spec).second is None or "blur_p" in _second(spec)
    if _has_unlike_views(spec) and is_unlike:
        return BLUR_P[0], "the value of BYOL and MoCo v3 in the first view"
    return 0.5, "the value of MoCo v2"


def _second_view(spec: JobSpec, _facts: DatasetFacts) -> Choice:
    views, values = image_views(spec), dict[str, float]()
    if _has_unlike_views(spec) and views.blur_p == BLUR_P[0]:
        values["blur_p"] = BLUR_P[1]
    if _has_unlike_views(spec) and views.solarize_p == 0.0:
        values["solarize_p"] = SOLARIZE_P
    if not values:
        return "same", "one set of settings for both views"
    reason = "the values of BYOL and MoCo v3; with `same` both views are alike"
    return SecondViewSpec.model_validate(values), reason


def _second(spec: JobSpec) -> dict[str, Any]:
    """Return the settings of the second view that differ."""
    second = image_views(spec).second
    return second.stated if isinstance(second, SecondViewSpec) else {}


def _has_unlike_views(spec: JobSpec) -> bool:
    return getattr(spec.method, "has_unlike_views", False)


def _evaluation_crop(_spec: JobSpec, _facts: DatasetFacts) -> Choice:
    return "resize", "as in torchvision, timm and Hugging Face"


RULES: Rules = (
    ("views.side_px", _side),
    ("encoder.channels", _channels),
    ("views.crop_scale", _crop),
    ("views.blur_p", _blur),
    ("views.second", _second_view),
    ("views.evaluation_crop", _evaluation_crop),
)


def settle(spec: JobSpec, facts: DatasetFacts, *, stated: AbstractSet[str]) -> dict[str, str]:
    """Settle what several fields decide together, with the reasons.

    `stated` are the fields of the views that the user set. Raises SpecError for a value that does
    not fit the others.
    """
    weaker = _settle_strength(spec, stated)
    return _settle_encoder(spec) | weaker | _settle_color(spec, facts, stated)


def _settle_encoder(spec: JobSpec) -> dict[str, str]:
    """Fill in the settings of a ViT."""
    encoder = image_encoder(spec)
    side_px = filled(image_views(spec).side_px)
    reasons = {}
    chosen = patches.settle(encoder, side_px=side_px, method=spec.method.name)
    for name, (value, reason) in chosen.items():
        encoder.__dict__[name] = value
        encoder.__pydantic_fields_set__.add(name)
        reasons[f"encoder.{name}"] = reason
    return reasons


def _settle_strength(spec: JobSpec, stated: AbstractSet[str]) -> dict[str, str]:
    """Switch off changes of color where labels are learned, unless the user set them."""
    if not spec.learns_labels:
        return {}
    reasons = {}
    for name in STRONG:
        if name not in stated:
            spec.views.__dict__[name] = 0.0
            reasons[f"views.{name}"] = "labels may depend on color; crop and flip alone"
        spec.views.__pydantic_fields_set__.add(name)
    return reasons


def _settle_color(spec: JobSpec, facts: DatasetFacts, stated: AbstractSet[str]) -> dict[str, str]:
    """Switch color off where rows are not RGB."""
    if facts.channels == RGB:
        return {}
    reasons = {}
    for name in COLOUR:
        value = getattr(spec.views, name)
        if value > 0.0 and name in stated:
            raise _no_colors(f"views.{name}", value)
        if value > 0.0:
            spec.views.__dict__[name] = 0.0
            reasons[f"views.{name}"] = "only RGB images have colors"
        spec.views.__pydantic_fields_set__.add(name)
    for name, value in _second(spec).items():
        if name in COLOUR and value > 0.0:
            raise _no_colors(f"views.second.{name}", value)
    return reasons


def _no_colors(field: str, value: float) -> SpecError:
    return SpecError(
        f"{value:g} changes colors, but the dataset's images are not RGB; set it to 0 or omit it",
        field=field,
    )


def check(spec: JobSpec, facts: DatasetFacts) -> None:
    """Raise SpecError for settings of images that do not fit the dataset."""
    channels = image_encoder(spec).channels
    if channels != facts.channels:
        detail = f"{channels} channels, but the dataset has {facts.channels}"
        raise SpecError(detail, field="encoder.channels")
    check_stem(image_encoder(spec), side_px=filled(image_views(spec).side_px))
    if spec.views_per_row == 1 and _second(spec):
        detail = f"{spec.method.name} reads one view of each image; leave it out"
        raise SpecError(detail, field="views.second", also=("method.name",))
    drops = {
        "views.channel_drop_p": image_views(spec).channel_drop_p,
        "views.second.channel_drop_p": _second(spec).get("channel_drop_p", 0.0),
    }
    for field, drop_p in drops.items():
        if channels == 1 and drop_p > 0.0:
            detail = "the images have one channel, and without it nothing is left; set it to 0"
            raise SpecError(detail, field=field)
    normalization(image_views(spec), facts)


def check_alike(train: DatasetFacts, test: DatasetFacts) -> None:
    """Raise SpecError if a test dataset does not fit an encoder of the training dataset."""
    if train.channels != test.channels:
        detail = f"its rows have {test.channels} channels, the dataset's {train.channels}"
        raise SpecError(detail, field="test_dataset")
    if train.dtype != test.dtype:
        detail = f"it holds values of {_depth(test)}, the dataset of {_depth(train)}"
        raise SpecError(detail, field="test_dataset")


def _depth(facts: DatasetFacts) -> str:
    return "8 bits" if facts.dtype == "uint8" else "more than 8 bits"


def warnings(spec: ResolvedSpec, facts: DatasetFacts) -> tuple[DataWarning, ...]:
    """Return what a user should read about a job before it runs."""
    warning = enlarged_views(spec, facts)
    return () if warning is None else (warning,)
