"""Layout and constants that every form of the augmentation shares."""

from typing import NamedTuple

from torch import Tensor

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""Columns of the factors of the color jitter."""
LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in gray, as torchvision has them (ITU-R BT.601)."""


class ViewForm(NamedTuple):
    """Settings that all views of a job share."""

    side_px: int
    radius_px: int
    """Radius of the blur's kernel; 0 if no view is blurred."""
    moments: Tensor
    """Mean and std of each channel, float32 [2, 3], for values in [0, 1]; on the images' device."""
