"""View kernels for CPUs: one pass per view, with its pixels in the core's cache.

The arithmetic is that of `trainer.modalities.image.augment.resample`,
`trainer.modalities.image.augment.color` and `trainer.modalities.image.augment.color_jitter`, which
process whole batches for GPUs and give the reasons. Importing this module compiles the kernels for
this machine, in some seconds and in memory only.
"""

import numpy as np
from numpy.typing import NDArray

from trainer.accel.cpu.jit import compiled_now, kernel
from trainer.accel.view_layout import BRIGHTNESS, CONTRAST, HUE, LUMA, SATURATION

Floats = NDArray[np.float32]
RED, GREEN, BLUE = (np.float32(weight) for weight in LUMA)
ZERO, HALF, ONE, TWO = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(2.0)
THREE, FOUR, SIX = np.float32(3.0), np.float32(4.0), np.float32(6.0)
LEVELS = np.float32(255.0)
TINY = np.float32(1e-12)
SIGMAS_MAX = 6
"""Radius in sigmas beyond which a Gaussian is below float precision."""


ARRAYS = (
    "void(u1[:,:,:,::1], i8[:,::1], b1[::1], i8[:,::1], f4[:,::1], b1[:,::1], f4[::1], i8, "
    "f4[:,::1], f4[:,:,:,::1])"
)
"""Argument types of `make_views` for numba."""


@kernel
def _weigh(
    start: int,
    length: int,
    flip: np.bool_,
    first: NDArray[np.int64],
    count: NDArray[np.int64],
    weights: Floats,
) -> None:
    """The pixels that each pixel of a view is made of along one axis, and their weights."""
    side = len(first)
    scale = np.float32(length) / np.float32(side)
    support = max(scale, ONE)
    for index in range(side):
        at = side - 1 - index if flip else index
        centre = np.float32(start) - HALF + scale * (np.float32(at) + HALF)
        low = max(start, int(np.ceil(centre - support)))
        high = min(start + length - 1, int(np.floor(centre + support)))
        total = ZERO
        for pixel in range(low, high + 1):
            weight = max(ZERO, ONE - abs(np.float32(pixel) - centre) / support)
            weights[index, pixel - low] = weight
            total += weight
        first[index], count[index] = low, high + 1 - low
        for tap in range(count[index]):
            weights[index, tap] /= total


@kernel
def _resample(
    image: NDArray[np.uint8], box: NDArray[np.int64], flip: np.bool_, view: Floats
) -> None:
    """Crop, flip and resize with antialiasing: [H, W, 3] to [3, S, S] in [0, 1]."""
    side = view.shape[1]
    top, left, height, width = box
    taps = int(2 * max(height / side, width / side, 1.0)) + 3
    first = np.empty(side, np.int64)
    count = np.empty(side, np.int64)
    weights = np.empty((side, taps), np.float32)
    _weigh(top, height, np.bool_(False), first, count, weights)
    begin, end = 3 * left, 3 * (left + width)
    pixels = image.reshape(image.shape[0], 3 * image.shape[1])
    lines = np.zeros((side, end - begin), np.float32)
    for index in range(side):
        line = lines[index]
        for tap in range(count[index]):
            source = pixels[first[index] + tap, begin:end]
            weight = weights[index, tap] / LEVELS
            for at in range(end - begin):
                line[at] += weight * np.float32(source[at])
    _weigh(left, width, flip, first, count, weights)
    for y in range(side):
        line = lines[y]
        for x in range(side):
            red, green, blue = ZERO, ZERO, ZERO
            at = 3 * (first[x] - left)
            for tap in range(count[x]):
                weight = weights[x, tap]
                red += weight * line[at]
                green += weight * line[at + 1]
                blue += weight * line[at + 2]
                at += 3
            view[0, y, x], view[1, y, x], view[2, y, x] = red, green, blue


@kernel
def _jitter(flat: Floats, op: int, factor: np.float32) -> None:
    """One step of the colour jitter; see `trainer.modalities.image.augment.color.blend_`."""
    if op == HUE:
        if factor != ZERO:
            _shift_hue(flat, factor)
    elif factor != ONE:
        if op == BRIGHTNESS:
            _blend(flat, factor, ZERO)
        elif op == CONTRAST:
            _blend(flat, factor, (ONE - factor) * _mean_luma(flat))
        elif op == SATURATION:
            _saturate(flat, factor)


@kernel
def _blend(flat: Floats, factor: np.float32, added: np.float32) -> None:
    for channel in range(3):
        plane = flat[channel]
        for at in range(len(plane)):
            plane[at] = min(max(factor * plane[at] + added, ZERO), ONE)


@kernel
def _mean_luma(flat: Floats) -> np.float32:
    red, green, blue = flat[0], flat[1], flat[2]
    total = ZERO
    for at in range(len(red)):
        total += RED * red[at] + GREEN * green[at] + BLUE * blue[at]
    return total / np.float32(len(red))


@kernel
def _saturate(flat: Floats, factor: np.float32) -> None:
    red, green, blue = flat[0], flat[1], flat[2]
    for at in range(len(red)):
        added = (ONE - factor) * (RED * red[at] + GREEN * green[at] + BLUE * blue[at])
        red[at] = min(max(factor * red[at] + added, ZERO), ONE)
        green[at] = min(max(factor * green[at] + added, ZERO), ONE)
        blue[at] = min(max(factor * blue[at] + added, ZERO), ONE)


@kernel
def _grey(flat: Floats) -> None:
    red, green, blue = flat[0], flat[1], flat[2]
    for at in range(len(red)):
        luma = RED * red[at] + GREEN * green[at] + BLUE * blue[at]
        red[at] = luma
        green[at] = luma
        blue[at] = luma


@kernel
def _shift_hue(flat: Floats, turns: np.float32) -> None:
    """Shift the hue, as `trainer.modalities.image.augment.color.shift_hue_` does."""
    reds, greens, blues = flat[0], flat[1], flat[2]
    for at in range(len(reds)):
        red, green, blue = reds[at], greens[at], blues[at]
        top = max(red, green, blue)
        low = min(red, green, blue)
        chroma = top - low
        if red == top:
            apart, start = green - blue, ZERO
        elif green == top:
            apart, start = blue - red, TWO
        else:
            apart, start = red - green, FOUR
        hue = apart / max(chroma, TINY) + start + SIX * turns
        hue -= SIX * np.floor(hue / SIX)
        reds[at] = low + chroma * min(max(abs(hue - THREE) - ONE, ZERO), ONE)
        greens[at] = low + chroma * min(max(TWO - abs(hue - TWO), ZERO), ONE)
        blues[at] = low + chroma * min(max(TWO - abs(hue - FOUR), ZERO), ONE)


@kernel
def _blur(view: Floats, sigma_px: np.float32, radius_px: int) -> None:
    """Blur by a separable Gaussian, reflected at the borders."""
    side = view.shape[1]
    radius = min(radius_px, int(SIGMAS_MAX * sigma_px) + 1)
    weights = np.empty(2 * radius + 1, np.float32)
    for offset in range(-radius, radius + 1):
        weights[offset + radius] = np.exp(-HALF * (np.float32(offset) / sigma_px) ** 2)
    weights /= weights.sum()
    lines = np.empty((side, side), np.float32)
    padded = np.empty(side + 2 * radius, np.float32)
    for channel in range(3):
        plane = view[channel]
        lines[:] = ZERO
        for y in range(side):
            for tap in range(2 * radius + 1):
                source = plane[_reflected(y + tap - radius, side)]
                weight = weights[tap]
                for x in range(side):
                    lines[y, x] += weight * source[x]
        for y in range(side):
            for x in range(side + 2 * radius):
                padded[x] = lines[y, _reflected(x - radius, side)]
            line = plane[y]
            line[:] = ZERO
            for tap in range(2 * radius + 1):
                weight = weights[tap]
                for x in range(side):
                    line[x] += weight * padded[x + tap]


@kernel
def _reflected(index: int, side: int) -> int:
    return side - 1 - abs(side - 1 - abs(index))


@kernel
def _solarize(flat: Floats) -> None:
    for channel in range(3):
        plane = flat[channel]
        for at in range(len(plane)):
            plane[at] = min(plane[at], ONE - plane[at])


@kernel
def _normalise(flat: Floats, moments: Floats) -> None:
    for channel in range(3):
        plane = flat[channel]
        mean, scale = moments[0, channel], ONE / moments[1, channel]
        for at in range(len(plane)):
            plane[at] = (plane[at] - mean) * scale


@compiled_now(ARRAYS)
def make_views(  # noqa: PLR0913, PLR0917  # an array for each parameter: a kernel takes no records
    images: NDArray[np.uint8],  # [B, H, W, 3]
    boxes: NDArray[np.int64],  # [B, 4]: top, left, height, width
    flips: NDArray[np.bool_],  # [B]
    orders: NDArray[np.int64],  # [B, 4]
    factors: Floats,  # [B, 4]
    flags: NDArray[np.bool_],  # [B, 3]: grey before the jitter, grey after it, solarize
    sigmas_px: Floats,  # [B]
    radius_px: int,
    moments: Floats,  # [2, 3]: mean and std
    out: Floats,  # [B, 3, S, S]
) -> None:
    """Fill `out`."""
    side = out.shape[2]
    for row in range(len(out)):
        view = out[row]
        _resample(images[row], boxes[row], flips[row], view)
        flat = view.reshape(3, side * side)
        if flags[row, 0]:
            _grey(flat)
        for index in range(4):
            _jitter(flat, orders[row, index], factors[row, orders[row, index]])
        if flags[row, 1]:
            _grey(flat)
        if sigmas_px[row] > ZERO:
            _blur(view, sigmas_px[row], radius_px)
        if flags[row, 2]:
            _solarize(flat)
        _normalise(flat, moments)
