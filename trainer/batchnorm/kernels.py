"""Batch norm of a group of rows with what follows it, in two passes over the pixels each way.

In bfloat16, channels last: a group is [P, C], its pixels with all their channels, and fits a
core's own cache at the sizes that train on a CPU, so the second pass finds what the first has
read. Compiled for this machine when this module is loaded.

Ioffe and Szegedy 2015 (arXiv:1502.03167), Algorithm 1 and the gradients of section 3.
"""

import numpy as np
from numpy.typing import NDArray

from trainer.compiling import compiled_now, kernel

Floats = NDArray[np.float32]
Halves = NDArray[np.uint16]
"""The bits of bfloat16: the upper half of a float32."""
HALF_BITS, ONE = np.uint32(16), np.uint32(1)
BELOW_HALF = np.uint32(0x7FFF)
ZERO = np.float32(0.0)
BLOCK = 64
"""Pixels whose sums are kept in float32, before they go into float64."""
MEAN, INVERSE, VARIANCE = range(3)

NORMALISE = "void(u2[:,::1], {added}, f4[:,::1], f4, f4, u2[:,::1], f4[:,::1])"
GRADIENT = (
    "void(u2[:,::1], u2[:,::1], {added}, f4[:,::1], f4[:,::1], f4, u2[:,::1], {added}, f4[:,::1])"
)
WITH, WITHOUT = "u2[:,::1]", "none"


@kernel
def wide(half: np.uint16) -> np.float32:
    """Bfloat16 as float32."""
    return np.uint32(np.uint32(half) << HALF_BITS).view(np.float32)


@kernel
def narrow(value: np.float32) -> np.uint16:
    """Float32 to the nearest bfloat16, ties to even, as torch rounds."""
    bits = np.float32(value).view(np.uint32)
    odd = np.uint32(np.uint32(bits >> HALF_BITS) & ONE)
    return np.uint16(np.uint32(np.uint32(bits + BELOW_HALF) + odd) >> HALF_BITS)


@kernel
def _measure(x: Halves, eps: np.float32, moments: Floats) -> None:
    """Fill `moments`."""
    pixels, channels = x.shape
    first = np.empty(channels, np.float32)
    for at in range(channels):
        first[at] = wide(x[0, at])
    total, squares = np.zeros(channels), np.zeros(channels)
    some, some_squares = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for start in range(0, pixels, BLOCK):
        some[:] = ZERO
        some_squares[:] = ZERO
        for pixel in range(start, min(pixels, start + BLOCK)):
            for at in range(channels):
                # From the first pixel on, so that a mean far from 0 costs no digits.
                apart = wide(x[pixel, at]) - first[at]
                some[at] += apart
                some_squares[at] += apart * apart
        for at in range(channels):
            total[at] += some[at]
            squares[at] += some_squares[at]
    for at in range(channels):
        apart_mean = total[at] / pixels
        variance = squares[at] / pixels - apart_mean * apart_mean
        variance = 0.0 if variance < 0.0 else variance  # NaN stays
        moments[MEAN, at] = np.float32(apart_mean) + first[at]
        moments[INVERSE, at] = np.float32(1.0 / np.sqrt(variance + eps))
        moments[VARIANCE, at] = np.float32(variance)


@kernel
def _line(affine: Floats, moments: Floats) -> tuple[Floats, Floats]:
    """Slope and level of each channel: what normalising is once the moments are known."""
    channels = affine.shape[1]
    scale, shift = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for at in range(channels):
        scale[at] = affine[0, at] * moments[INVERSE, at]
        shift[at] = affine[1, at] - moments[MEAN, at] * scale[at]
    return scale, shift


@compiled_now(NORMALISE.format(added=WITH), NORMALISE.format(added=WITHOUT))
def normalise(  # noqa: PLR0913, PLR0917  # an array for each: a kernel takes no records
    x: Halves,  # [P, C]
    added: Halves | None,  # [P, C], added to what was normalised
    affine: Floats,  # [2, C]: weight and bias
    eps: np.float32,
    floor: np.float32,  # 0 for a ReLU, -inf for none
    out: Halves,  # [P, C]
    moments: Floats,  # [3, C]: mean, 1 / std with eps, variance (biased)
) -> None:
    """Fill `out` and `moments`."""
    pixels, channels = x.shape
    _measure(x, eps, moments)
    scale, shift = _line(affine, moments)
    for pixel in range(pixels):
        for at in range(channels):
            value = wide(x[pixel, at]) * scale[at] + shift[at]
            if added is not None:
                value += wide(added[pixel, at])
            out[pixel, at] = narrow(floor if value < floor else value)  # NaN stays


@kernel
def _sum(  # noqa: PLR0913, PLR0917  # an array for each: a kernel takes no records
    grad: Halves,
    x: Halves,
    added: Halves | None,
    scale: Floats,
    shift: Floats,
    floor: np.float32,
    moments: Floats,
    of_affine: Floats,
) -> None:
    """Fill `of_affine`."""
    pixels, channels = x.shape
    mean = moments[MEAN]
    total, along = np.zeros(channels), np.zeros(channels)
    some, some_along = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for start in range(0, pixels, BLOCK):
        some[:] = ZERO
        some_along[:] = ZERO
        for pixel in range(start, min(pixels, start + BLOCK)):
            for at in range(channels):
                value = wide(x[pixel, at])
                reached = value * scale[at] + shift[at]
                if added is not None:
                    reached += wide(added[pixel, at])
                passed = ZERO if reached <= floor else wide(grad[pixel, at])
                some[at] += passed
                some_along[at] += passed * (value - mean[at])
        for at in range(channels):
            total[at] += some[at]
            along[at] += some_along[at]
    for at in range(channels):
        of_affine[0, at] = np.float32(along[at] * moments[INVERSE, at])
        of_affine[1, at] = np.float32(total[at])


@kernel
def _spread(
    scale: Floats, moments: Floats, of_affine: Floats, pixels: int
) -> tuple[Floats, Floats]:
    """What every pixel gets through mean and variance: a slope and a level of each channel."""
    channels = len(scale)
    slope, level = np.empty(channels, np.float32), np.empty(channels, np.float32)
    count = np.float32(pixels)
    for at in range(channels):
        slope[at] = -scale[at] * moments[INVERSE, at] * of_affine[0, at] / count
        level[at] = -scale[at] * of_affine[1, at] / count - slope[at] * moments[MEAN, at]
    return slope, level


@compiled_now(GRADIENT.format(added=WITH), GRADIENT.format(added=WITHOUT))
def gradient(  # noqa: PLR0913, PLR0917  # an array for each: a kernel takes no records
    grad: Halves,  # [P, C], of what `normalise` filled
    x: Halves,
    added: Halves | None,
    affine: Floats,
    moments: Floats,  # as `normalise` left them
    floor: np.float32,
    of_x: Halves,  # [P, C]
    of_added: Halves | None,  # [P, C]
    of_affine: Floats,  # [2, C]
) -> None:
    """Fill the gradients."""
    pixels, channels = x.shape
    scale, shift = _line(affine, moments)
    _sum(grad, x, added, scale, shift, floor, moments, of_affine)
    slope, level = _spread(scale, moments, of_affine, pixels)
    for pixel in range(pixels):
        for at in range(channels):
            value = wide(x[pixel, at])
            reached = value * scale[at] + shift[at]
            if added is not None:
                reached += wide(added[pixel, at])
            passed = ZERO if reached <= floor else wide(grad[pixel, at])
            of_x[pixel, at] = narrow(passed * scale[at] + value * slope[at] + level[at])
            if of_added is not None:
                of_added[pixel, at] = narrow(passed)
