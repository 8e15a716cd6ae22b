"""The same views one row at a time, with torchvision's functional ops: slow, and the judge.

It shares the parameters with `trainer.modalities.image.augment.augment` and nothing else.
"""

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from trainer.accel.view_layout import BRIGHTNESS, CONTRAST, HUE, SATURATION
from trainer.modalities.image.augment.params import ViewParams
from trainer.modalities.image.augment.spec import ViewsSpec


def reference_view(image: Tensor, params: ViewParams, *, row: int, spec: ViewsSpec) -> Tensor:
    """One view of an image u8 [3, h, w]: float32 [3, side, side] in [0, 1], not normalised.

    `params` are of a batch, in which the image is number `row`. `spec` is resolved.
    """
    assert spec.side_px is not None
    box = params.box
    top, left, height, width = (
        int(value[row]) for value in (box.top, box.left, box.height, box.width)
    )
    side = [spec.side_px, spec.side_px]
    view: Tensor = F.resized_crop(
        image.float() / 255.0, top, left, height, width, side, antialias=True
    )
    if params.flip[row]:
        view = F.horizontal_flip(view)
    grey = bool(params.grey[row])
    if grey and spec.grey_first:
        view = F.rgb_to_grayscale(view, num_output_channels=3)
    view = _jittered(view, params, row)
    if grey and not spec.grey_first:
        view = F.rgb_to_grayscale(view, num_output_channels=3)
    view = _blurred(view, float(params.sigma_px[row]), spec)
    if params.solarize[row]:
        view = F.solarize(view, threshold=0.5)
    return view


def reference_plain(image: Tensor, *, side_px: int) -> Tensor:
    """An image u8 [3, h, w] cut to the square in its middle and resized, in [0, 1]."""
    square = F.center_crop(image.float() / 255.0, [min(image.shape[1:])])
    plain: Tensor = F.resize(square, [side_px, side_px], antialias=True)
    return plain


def _jittered(view: Tensor, params: ViewParams, row: int) -> Tensor:
    ops = {
        BRIGHTNESS: F.adjust_brightness,
        CONTRAST: F.adjust_contrast,
        SATURATION: F.adjust_saturation,
        HUE: F.adjust_hue,
    }
    for op in params.order[row].tolist():
        view = ops[op](view, float(params.factors[row, op]))
    return view


def _blurred(view: Tensor, sigma_px: float, spec: ViewsSpec) -> Tensor:
    """With a kernel that reaches three of the widest sigmas, within the view."""
    if sigma_px == 0.0:
        return view
    radius = min(-int(-3.0 * spec.blur_sigma_px[1] // 1), view.shape[-1] - 1)
    blurred: Tensor = F.gaussian_blur(view, [2 * radius + 1] * 2, [sigma_px] * 2)
    return blurred


def as_levels(view: Tensor) -> Tensor:
    """Convert [0, 1] to levels of 255, for comparisons."""
    return torch.clamp(view * 255.0, 0.0, 255.0)
