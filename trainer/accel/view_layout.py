"""Layout and constants that every form of the augmentation shares."""

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""Columns of the factors of the color jitter."""
LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in gray, as torchvision has them (ITU-R BT.601)."""
