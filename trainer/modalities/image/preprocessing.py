"""Preprocessing of an image before the network, as `preprocess.json` states it.

The same steps are those of `embeddings.parquet`, of `moco embed`, of neighbours and of the code in
the card. The last three are `Resize` and `CenterCrop` of torchvision, which timm and Hugging Face
use as well. Loads no tensors.
"""

from dataclasses import dataclass, replace
from typing import Any

from trainer.data.spec import ASPECT_MAX
from trainer.modalities.image.augment.normalization import normalization
from trainer.modalities.image.augment.spec import EvaluationCrop
from trainer.modalities.image.spec import resolved_views
from trainer.schema.choices import Alpha, ShrinkFilter
from trainer.schema.events import DatasetFacts, ValueMapping
from trainer.spec.resolved import ResolvedSpec

RGB = 3
STORED_AS = ("source_dtype", "scale", "offset")
"""Mapping of stored values: `value = stored * scale + offset`."""
SIDE_PX_MAX = 256
"""Limit of a stored image's shorter side where a download or a pack does not tell it."""
FILTER = "bilinear, antialiased"

TRANSPARENT: dict[Alpha, str] = {"white": "laid on white", "drop": "alpha left out"}
PLAIN = ValueMapping(low=0.0, high=255.0)
"""Values of 8 bits as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """The settings of the steps."""

    stored_px: int = SIDE_PX_MAX
    """Shorter sides that are longer were shrunk to it when the dataset was stored."""
    side_px: int
    """Height and width of the network's input."""
    crop: EvaluationCrop
    mean: tuple[float, ...]
    std: tuple[float, ...]
    values: ValueMapping = PLAIN
    """Values of a file that are read as 0 and 1."""
    shrink_filter: ShrinkFilter = "bilinear"
    """Filter that shrank the stored images."""
    alpha: Alpha = "white"
    """Treatment of transparent pixels."""

    @property
    def channels(self) -> int:
        """Return the channels of the network's input."""
        return len(self.mean)

    @property
    def is_deep(self) -> bool:
        """Return whether files hold more than 8 bits a channel."""
        return self.values.source_dtype != "uint8"

    @property
    def is_plain(self) -> bool:
        """Return whether files are 8-bit gray or RGB with the full range 0 to 255."""
        whole = (self.values.low, self.values.high) == (0.0, 255.0)
        return whole and not self.is_deep and self.channels in (1, RGB)


def preprocessing(spec: ResolvedSpec, facts: DatasetFacts) -> Preprocessing:
    """Return the steps of a resolved spec and its dataset."""
    views = resolved_views(spec)
    mean, std = normalization(views, facts)
    crop = views.evaluation_crop
    steps = Preprocessing(
        stored_px=facts.stored_side_px,
        side_px=views.side_px,
        crop=crop,
        mean=mean,
        std=std,
        shrink_filter=facts.shrink_filter,
        alpha=facts.alpha,
    )
    return steps if facts.values is None else replace(steps, values=facts.values)


def as_json(steps: Preprocessing) -> dict[str, Any]:
    """Return `preprocess.json`: the steps from an image file to the network's input, in order."""
    return {
        "steps": [
            {"op": "upright", "by": "EXIF orientation"},
            _channel_step(steps),
            {
                "op": "shrink",
                "shorter_side_px_max": steps.stored_px,
                "longer_side_px_max": ASPECT_MAX * steps.stored_px,
                "filter": f"{steps.shrink_filter}, antialiased",
                "rounded_to": "uint16" if steps.is_deep else "uint8",
            },
            _scale_step(steps.values),
            *_crop_steps(steps),
            {"op": "normalize", "mean": list(steps.mean), "std": list(steps.std)},
        ],
        "layout": "NCHW",
        "dtype": "float32",
    }


def from_json(words: dict[str, Any]) -> Preprocessing:
    """Read `preprocess.json`, also of earlier versions, which cut the square first.

    Raises KeyError, TypeError, ValueError or IndexError where it is of another kind.
    """
    by_op = {step["op"]: step for step in words["steps"]}
    order = [op for op in by_op if op in ("resize", "centre_crop", "center_crop")]
    crop: EvaluationCrop = "resize" if order == ["resize", "center_crop"] else "square"
    resize = by_op["resize"]
    side_px = resize["shorter_side_px"] if crop == "resize" else resize["size_px"][0]
    mean, std = (tuple(map(float, by_op["normalize"][key])) for key in ("mean", "std"))
    shrink = by_op.get("shrink", {})
    stored_px = shrink.get("shorter_side_px_max", SIDE_PX_MAX)
    unknown = by_op.keys() - KNOWN
    if unknown:
        raise ValueError(f"step {min(unknown)!r} is not known")
    scale = by_op["scale"]
    low, high = map(float, scale["from"])
    return Preprocessing(
        stored_px=int(stored_px),
        side_px=int(side_px),
        crop=crop,
        mean=mean,
        std=std,
        values=ValueMapping(low=low, high=high, **scale.get("values", {})),
        shrink_filter="lanczos" if shrink.get("filter", "").startswith("lanczos") else "bilinear",
        alpha=_alpha(by_op),
    )


KNOWN = frozenset(
    {
        "upright",
        "to_rgb",
        "to_channels",
        "shrink",
        "scale",
        "resize",
        "centre_crop",
        "center_crop",
        "normalize",
    }
)


def _channel_step(steps: Preprocessing) -> dict[str, Any]:
    if steps.channels == RGB:
        return {"op": "to_rgb", "transparent": TRANSPARENT[steps.alpha]}
    step: dict[str, Any] = {"op": "to_channels", "channels": steps.channels}
    return step if steps.alpha == "white" else step | {"transparent": TRANSPARENT[steps.alpha]}


def _alpha(by_op: dict[str, dict[str, Any]]) -> Alpha:
    """Return what becomes of see-through pixels; earlier versions always laid them on white."""
    alphas = {step.get("transparent") for step in by_op.values()}
    return "drop" if TRANSPARENT["drop"] in alphas else "white"


def _scale_step(values: ValueMapping) -> dict[str, Any]:
    """State the values of a file that become 0 and 1; those beyond are cut off."""
    scale = {"op": "scale", "from": [values.low, values.high], "to": [0.0, 1.0], "clip": True}
    if values.rule == "identity" and values.source_dtype == "uint8":
        return scale
    return scale | {"values": {key: getattr(values, key) for key in STORED_AS}}


def _crop_steps(steps: Preprocessing) -> list[dict[str, Any]]:
    side_px = [steps.side_px, steps.side_px]
    if steps.crop == "square":
        return [
            {"op": "centre_crop", "side": "shorter side of the image"},
            {"op": "resize", "size_px": side_px, "filter": FILTER},
        ]
    return [
        {
            "op": "resize",
            "shorter_side_px": steps.side_px,
            "longer_side_px": "shorter_side_px * longer // shorter, in pixels of the file",
            "filter": FILTER,
        },
        {"op": "center_crop", "size_px": side_px, "offset": "rounded half to even"},
    ]
