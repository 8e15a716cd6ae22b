"""Batch norm of a group of rows with what follows it, in two passes over the pixels each way.

In bfloat16, channels last: a group is [P, C], its pixels with all their channels, and fits a
core's own cache at the sizes that train on a CPU, so the second pass finds what the first has
read. Compiled for this machine when this module is loaded. C is a multiple of `simd.WIDTH`.

Ioffe and Szegedy 2015 (arXiv:1502.03167), Algorithm 1 and the gradients of section 3.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.accel.cpu.jit import compiled_now, kernel
from trainer.accel.cpu.simd import (
    WIDTH,
    all_of,
    floats,
    load_bf16,
    maximum,
    put_floats,
    relu_mask,
    store_bf16,
)

Floats = NDArray[np.float32]
Halves = NDArray[np.uint16]
"""The bits of bfloat16: the upper half of a float32."""
ZERO = np.float32(0.0)
BLOCK = 64
"""Pixels whose sums are kept in float32, before they go into float64; blocks are read WIDTH
channels at a time, so that whole L1 cache lines are used.
"""
MEAN, INVERSE, VARIANCE = range(3)

NORMALISE = "void(u2[:,::1], {added}, f4[:,::1], f4, f4, u2[:,::1], f4[:,::1])"
GRADIENT = (
    "void(u2[:,::1], u2[:,::1], {added}, f4[:,::1], f4[:,::1], f4, u2[:,::1], {added}, f4[:,::1])"
)
WITH, WITHOUT = "u2[:,::1]", "none"


@kernel
def _add_block(sums: NDArray[np.float64], at: int, block_sums: Floats) -> None:
    """Add sums of a block to those of the group, for WIDTH channels from `at` on."""
    for line in range(2):
        for lane in range(WIDTH):
            sums[line, at + lane] += block_sums[line, lane]


@kernel
def _measure(x: Halves, eps: np.float32, moments: Floats) -> None:
    """Fill `moments`."""
    pixels, channels = x.shape
    sums, block_sums = np.zeros((2, channels)), np.empty((2, WIDTH), np.float32)
    for at in range(0, channels, WIDTH):
        put_floats(moments, MEAN, at, load_bf16(x, 0, at))
    for start in range(0, pixels, BLOCK):
        for at in range(0, channels, WIDTH):
            origin = floats(moments, MEAN, at)
            total, squares = all_of(ZERO), all_of(ZERO)
            for pixel in range(start, min(pixels, start + BLOCK)):
                # From the first pixel on, so that a mean far from 0 costs no digits.
                apart = load_bf16(x, pixel, at) - origin
                total = total + apart
                squares = squares + apart * apart
            put_floats(block_sums, 0, 0, total)
            put_floats(block_sums, 1, 0, squares)
            _add_block(sums, at, block_sums)
    for at in range(channels):
        apart_mean = sums[0, at] / pixels
        variance = sums[1, at] / pixels - apart_mean * apart_mean
        variance = 0.0 if variance < 0.0 else variance  # NaN stays
        moments[MEAN, at] += np.float32(apart_mean)
        moments[INVERSE, at] = np.float32(1.0 / np.sqrt(variance + eps))
        moments[VARIANCE, at] = np.float32(variance)


@kernel
def _line(affine: Floats, moments: Floats) -> Floats:
    """Return [2, C], slope and level of each channel: the normalization, given the moments."""
    line = np.empty_like(affine)
    for at in range(affine.shape[1]):
        line[0, at] = affine[0, at] * moments[INVERSE, at]
        line[1, at] = affine[1, at] - moments[MEAN, at] * line[0, at]
    return line


@kernel
def _reached(x: Halves, added: Halves | None, line: Floats, pixel: int, at: int) -> Any:  # noqa: ANN401
    """Return WIDTH normalised channels of a pixel, plus the residual, before the ReLU."""
    reached = load_bf16(x, pixel, at) * floats(line, 0, at) + floats(line, 1, at)
    return reached if added is None else reached + load_bf16(added, pixel, at)


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
    line, lowest = _line(affine, moments), all_of(floor)
    for start in range(0, pixels, BLOCK):
        for at in range(0, channels, WIDTH):
            for pixel in range(start, min(pixels, start + BLOCK)):
                reached = _reached(x, added, line, pixel, at)
                store_bf16(out, pixel, at, maximum(reached, lowest))


@kernel
def _sum(  # noqa: PLR0913, PLR0917  # an array for each: a kernel takes no records
    grad: Halves,
    x: Halves,
    added: Halves | None,
    line: Floats,
    floor: np.float32,
    moments: Floats,
    of_affine: Floats,
) -> None:
    """Fill `of_affine`."""
    pixels, channels = x.shape
    sums, block_sums = np.zeros((2, channels)), np.empty((2, WIDTH), np.float32)
    lowest = all_of(floor)
    for start in range(0, pixels, BLOCK):
        for at in range(0, channels, WIDTH):
            mean = floats(moments, MEAN, at)
            total, along = all_of(ZERO), all_of(ZERO)
            for pixel in range(start, min(pixels, start + BLOCK)):
                reached = _reached(x, added, line, pixel, at)
                passed = relu_mask(reached, lowest, load_bf16(grad, pixel, at))
                total = total + passed
                along = along + passed * (load_bf16(x, pixel, at) - mean)
            put_floats(block_sums, 0, 0, along)
            put_floats(block_sums, 1, 0, total)
            _add_block(sums, at, block_sums)
    for at in range(channels):
        of_affine[0, at] = np.float32(sums[0, at] * moments[INVERSE, at])
        of_affine[1, at] = np.float32(sums[1, at])


@kernel
def _spread(line: Floats, moments: Floats, of_affine: Floats, pixels: int) -> Floats:
    """Return [2, C], the gradient through mean and variance: slope and level of each channel."""
    through, count = np.empty_like(line), np.float32(pixels)
    for at in range(line.shape[1]):
        scale = -line[0, at] / count
        through[0, at] = scale * moments[INVERSE, at] * of_affine[0, at]
        through[1, at] = scale * of_affine[1, at] - through[0, at] * moments[MEAN, at]
    return through


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
    line, lowest = _line(affine, moments), all_of(floor)
    _sum(grad, x, added, line, floor, moments, of_affine)
    through = _spread(line, moments, of_affine, pixels)
    for start in range(0, pixels, BLOCK):
        for at in range(0, channels, WIDTH):
            scale = floats(line, 0, at)
            slope, level = floats(through, 0, at), floats(through, 1, at)
            for pixel in range(start, min(pixels, start + BLOCK)):
                reached = _reached(x, added, line, pixel, at)
                passed = relu_mask(reached, lowest, load_bf16(grad, pixel, at))
                through_both = load_bf16(x, pixel, at) * slope + level
                store_bf16(of_x, pixel, at, passed * scale + through_both)
                if of_added is not None:
                    store_bf16(of_added, pixel, at, passed)
