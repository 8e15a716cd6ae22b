"""Views in Triton: the pixels of a view stay in registers from its crop to its normalization.

The arithmetic is that of `trainer.modalities.image.augment.resample`, `color` and `color_jitter`,
which say why; the order of the jitter's steps is that of each row. A program makes TILE pixels of
one view. Two things need all of a view before any pixel can go on, and a pass each: the contrast
is about the mean of the luma (`mean_luma`), and a blur along columns needs what the blur along rows
has made of its neighbours (`blur_rows`, `blur_columns`). Passes that a row does not need end at
once. No random number is drawn here.

Importing this module imports Triton.
"""

# ruff: noqa: PLR0913, PLR0917  # an argument for each number: a kernel takes no records

import triton
import triton.language as tl

from trainer.accel import view_layout

CONTRAST = tl.constexpr(view_layout.CONTRAST)
SATURATION = tl.constexpr(view_layout.SATURATION)
HUE = tl.constexpr(view_layout.HUE)
RED, GREEN, BLUE = (tl.constexpr(weight) for weight in view_layout.LUMA)
TINY = tl.constexpr(1e-12)
SIGMAS_MAX = tl.constexpr(6.0)
"""Radius in sigmas beyond which a Gaussian is below float precision."""


@triton.jit
def _pixels(side: tl.tensor, TILE: tl.constexpr) -> tl.tensor:
    """Return the pixels of a program (axis 0) in its view, and which of them exist."""
    at = tl.program_id(0) * TILE + tl.arange(0, TILE)
    return at, at < side * side


@triton.jit
def _clamp(value: tl.tensor) -> tl.tensor:
    return tl.minimum(tl.maximum(value, 0.0), 1.0)


@triton.jit
def _luma(red: tl.tensor, green: tl.tensor, blue: tl.tensor) -> tl.tensor:
    return red * RED + green * GREEN + blue * BLUE


@triton.jit
def _first(index: tl.tensor, start: tl.tensor, scale: tl.tensor) -> tl.tensor:
    """Return the center of each pixel of a view in a row of pixels, and the first that counts."""
    centre = start - 0.5 + scale * (index + 0.5)
    first = tl.ceil(centre - tl.maximum(scale, 1.0))
    return centre, tl.maximum(first, start)


@triton.jit
def _weight(pixel: tl.tensor, centre: tl.tensor, scale: tl.tensor, end: tl.tensor) -> tl.tensor:
    """Return the weights of the triangle around each center, 0 beyond the box."""
    weight = tl.maximum(1.0 - tl.abs(pixel - centre) / tl.maximum(scale, 1.0), 0.0)
    return tl.where(pixel < end, weight, 0.0)


@triton.jit
def _total(
    first: tl.tensor, centre: tl.tensor, scale: tl.tensor, end: tl.tensor, taps: tl.tensor
) -> tl.tensor:
    total = first * 0.0
    for tap in range(taps):
        total += _weight(first + tap, centre, scale, end)
    return total


@triton.jit
def _cut(
    images: tl.tensor,
    boxes: tl.tensor,
    flips: tl.tensor,
    row: tl.tensor,
    at: tl.tensor,  # pixels of the view
    side: tl.tensor,
    row_step: tl.tensor,
    channel_step: tl.tensor,
    y_step: tl.tensor,
    x_step: tl.tensor,
) -> tl.tensor:
    """Crop, flip and resize with antialiasing; red, green and blue in [0, 1]."""
    top = tl.load(boxes + row * 4).to(tl.float32)
    left = tl.load(boxes + row * 4 + 1).to(tl.float32)
    height = tl.load(boxes + row * 4 + 2).to(tl.float32)
    width = tl.load(boxes + row * 4 + 3).to(tl.float32)
    flip = tl.load(flips + row) != 0
    down, across = height / side, width / side
    # Pixels beyond the last row are computed as if in it, and not stored.
    y, x = tl.minimum(at // side, side - 1), at % side
    x = tl.where(flip, side - 1 - x, x)
    centre_y, first_y = _first(y.to(tl.float32), top, down)
    centre_x, first_x = _first(x.to(tl.float32), left, across)
    bottom, right = top + height, left + width
    taps_y = tl.floor(2.0 * tl.maximum(down, 1.0)).to(tl.int32) + 1
    taps_x = tl.floor(2.0 * tl.maximum(across, 1.0)).to(tl.int32) + 1
    total_y = _total(first_y, centre_y, down, bottom, taps_y)
    total_x = _total(first_x, centre_x, across, right, taps_x)
    images += row.to(tl.int64) * row_step
    red = first_y * 0.0
    green, blue = red, red
    for tap_y in range(taps_y):
        pixel_y = first_y + tap_y
        weight_y = _weight(pixel_y, centre_y, down, bottom)
        line_red = first_y * 0.0
        line_green, line_blue = line_red, line_red
        line = images + pixel_y.to(tl.int32) * y_step
        for tap_x in range(taps_x):
            pixel_x = first_x + tap_x
            weight = _weight(pixel_x, centre_x, across, right)
            mask = (weight > 0.0) & (weight_y > 0.0)
            pixel = line + pixel_x.to(tl.int32) * x_step
            line_red += weight * tl.load(pixel, mask=mask, other=0).to(tl.float32)
            pixel += channel_step
            line_green += weight * tl.load(pixel, mask=mask, other=0).to(tl.float32)
            pixel += channel_step
            line_blue += weight * tl.load(pixel, mask=mask, other=0).to(tl.float32)
        red += weight_y * line_red
        green += weight_y * line_green
        blue += weight_y * line_blue
    whole = total_y * total_x * 255.0
    return red / whole, green / whole, blue / whole


@triton.jit
def _shift_hue(red: tl.tensor, green: tl.tensor, blue: tl.tensor, turns: tl.tensor) -> tl.tensor:
    top = tl.maximum(tl.maximum(red, green), blue)
    low = tl.minimum(tl.minimum(red, green), blue)
    chroma = top - low
    is_red, is_green = red == top, green == top
    apart = tl.where(is_red, green - blue, tl.where(is_green, blue - red, red - green))
    start = tl.where(is_red, 0.0, tl.where(is_green, 2.0, 4.0))
    hue = apart / tl.maximum(chroma, TINY) + start + 6.0 * turns
    hue -= 6.0 * tl.floor(hue / 6.0)
    red = low + chroma * _clamp(tl.abs(hue - 3.0) - 1.0)
    green = low + chroma * _clamp(2.0 - tl.abs(hue - 2.0))
    blue = low + chroma * _clamp(2.0 - tl.abs(hue - 4.0))
    return red, green, blue


@triton.jit
def _jitter(
    red: tl.tensor,
    green: tl.tensor,
    blue: tl.tensor,
    op: tl.tensor,
    factor: tl.tensor,
    mean: tl.tensor,  # of the luma before the contrast
) -> tl.tensor:
    """One step of the color jitter."""
    if op == HUE:
        if factor != 0.0:
            red, green, blue = _shift_hue(red, green, blue, factor)
    elif factor != 1.0:
        target = red * 0.0
        if op == CONTRAST:
            target += mean
        if op == SATURATION:
            target = _luma(red, green, blue)
        target *= 1.0 - factor
        red = _clamp(factor * red + target)
        green = _clamp(factor * green + target)
        blue = _clamp(factor * blue + target)
    return red, green, blue


@triton.jit
def _grey(red: tl.tensor, green: tl.tensor, blue: tl.tensor, flag: tl.tensor) -> tl.tensor:
    if flag != 0:
        luma = _luma(red, green, blue)
        red, green, blue = luma, luma, luma
    return red, green, blue


@triton.jit
def _finish(
    out: tl.tensor,
    moments: tl.tensor,
    value: tl.tensor,
    solarizes: tl.tensor,
    row: tl.tensor,
    at: tl.tensor,
    mask: tl.tensor,
    pixels: tl.tensor,
    channel: tl.constexpr,
) -> None:
    """Solarize, normalize and store one channel, channels last."""
    if solarizes != 0:
        value = tl.minimum(value, 1.0 - value)
    mean, std = tl.load(moments + channel), tl.load(moments + 3 + channel)
    value = (value - mean) / std
    out += (row.to(tl.int64) * pixels + at) * 3 + channel
    tl.store(out, value.to(out.dtype.element_ty), mask=mask)


@triton.jit
def mean_luma(
    images: tl.tensor,
    boxes: tl.tensor,  # int64 [B, 4]: top, left, height, width
    flips: tl.tensor,  # uint8 [B]
    orders: tl.tensor,  # int64 [B, 4]
    factors: tl.tensor,  # float32 [B, 4]
    flags: tl.tensor,  # uint8 [B, 3]: grey before the jitter, grey after it, solarize
    lumas: tl.tensor,  # float32 [B, programs]
    side: tl.tensor,
    row_step: tl.tensor,
    channel_step: tl.tensor,
    y_step: tl.tensor,
    x_step: tl.tensor,
    TILE: tl.constexpr,
) -> None:
    """Fill `lumas`: sums of the luma before the contrast, of the pixels of each program (axis 0).

    The view is axis 1. What a view without a contrast has there is never read.
    """
    row, program = tl.program_id(1), tl.program_id(0)
    if tl.load(factors + row * 4 + CONTRAST) != 1.0:
        at, mask = _pixels(side, TILE)
        red, green, blue = _cut(
            images, boxes, flips, row, at, side, row_step, channel_step, y_step, x_step
        )
        red, green, blue = _grey(red, green, blue, tl.load(flags + row * 3))
        before = 1
        for place in tl.static_range(4):
            op = tl.load(orders + row * 4 + place)
            if op == CONTRAST:
                before = 0
            if before != 0:
                factor = tl.load(factors + row * 4 + op)
                red, green, blue = _jitter(red, green, blue, op, factor, 0.0)
        luma = tl.where(mask, _luma(red, green, blue), 0.0)
        tl.store(lumas + row * tl.num_programs(0) + program, tl.sum(luma, axis=0))


@triton.jit
def color(
    images: tl.tensor,
    boxes: tl.tensor,
    flips: tl.tensor,
    orders: tl.tensor,
    factors: tl.tensor,
    flags: tl.tensor,
    lumas: tl.tensor,
    sigmas: tl.tensor,  # float32 [B], in px
    moments: tl.tensor,  # float32 [2, 3]: mean and std
    sharp: tl.tensor,  # float32 [B, 3, side, side]: filled for the views that are blurred
    out: tl.tensor,  # [B, side, side, 3]: filled for the others
    side: tl.tensor,
    row_step: tl.tensor,
    channel_step: tl.tensor,
    y_step: tl.tensor,
    x_step: tl.tensor,
    TILE: tl.constexpr,
    PROGRAMS_TILE: tl.constexpr,
) -> None:
    """Make the pixels of a view up to its blur. Axes as in `mean_luma`."""
    row = tl.program_id(1)
    at, mask = _pixels(side, TILE)
    pixels = side * side
    mean = 0.0
    if tl.load(factors + row * 4 + CONTRAST) != 1.0:
        part = tl.arange(0, PROGRAMS_TILE)
        programs = tl.num_programs(0)
        luma = tl.load(lumas + row * programs + part, mask=part < programs, other=0.0)
        mean = tl.sum(luma, axis=0) / pixels
    red, green, blue = _cut(
        images, boxes, flips, row, at, side, row_step, channel_step, y_step, x_step
    )
    red, green, blue = _grey(red, green, blue, tl.load(flags + row * 3))
    for place in tl.static_range(4):
        op = tl.load(orders + row * 4 + place)
        factor = tl.load(factors + row * 4 + op)
        red, green, blue = _jitter(red, green, blue, op, factor, mean)
    red, green, blue = _grey(red, green, blue, tl.load(flags + row * 3 + 1))
    if tl.load(sigmas + row) > 0.0:
        plane = sharp + row.to(tl.int64) * 3 * pixels + at
        tl.store(plane, red, mask=mask)
        tl.store(plane + pixels, green, mask=mask)
        tl.store(plane + 2 * pixels, blue, mask=mask)
    else:
        solarizes = tl.load(flags + row * 3 + 2)
        _finish(out, moments, red, solarizes, row, at, mask, pixels, 0)
        _finish(out, moments, green, solarizes, row, at, mask, pixels, 1)
        _finish(out, moments, blue, solarizes, row, at, mask, pixels, 2)


@triton.jit
def _blurred(
    plane: tl.tensor,
    sigma: tl.tensor,
    radius: tl.tensor,
    index: tl.tensor,  # of each pixel along the axis
    rest: tl.tensor,  # of its offset
    step: tl.tensor,
    side: tl.tensor,
    mask: tl.tensor,
) -> tl.tensor:
    """Return pixels blurred along one axis, reflected at its borders."""
    radius = tl.minimum(radius, (sigma * SIGMAS_MAX).to(tl.int32) + 1)
    total = sigma * 0.0
    value = index.to(tl.float32) * 0.0
    last = side - 1
    for tap in range(2 * radius + 1):
        offset = tap - radius
        apart = offset / sigma
        weight = tl.exp(-0.5 * apart * apart)
        source = last - tl.abs(last - tl.abs(index + offset))
        value += weight * tl.load(plane + rest + source * step, mask=mask, other=0.0)
        total += weight
    return value / total


@triton.jit
def blur_rows(
    sharp: tl.tensor,
    sigmas: tl.tensor,
    blurred: tl.tensor,  # like sharp
    side: tl.tensor,
    radius: tl.tensor,
    TILE: tl.constexpr,
) -> None:
    """Blur views along their rows of pixels; axes as in `mean_luma`."""
    row = tl.program_id(1)
    sigma = tl.load(sigmas + row)
    if sigma > 0.0:
        at, mask = _pixels(side, TILE)
        pixels = side * side
        x = at % side
        for channel in tl.static_range(3):
            plane = (row.to(tl.int64) * 3 + channel) * pixels
            value = _blurred(sharp + plane, sigma, radius, x, at - x, 1, side, mask)
            tl.store(blurred + plane + at, value, mask=mask)


@triton.jit
def blur_columns(
    blurred: tl.tensor,
    sigmas: tl.tensor,
    flags: tl.tensor,
    moments: tl.tensor,
    out: tl.tensor,
    side: tl.tensor,
    radius: tl.tensor,
    TILE: tl.constexpr,
) -> None:
    """Blur views along their columns of pixels and finish them; axes as in `mean_luma`."""
    row = tl.program_id(1)
    sigma = tl.load(sigmas + row)
    if sigma > 0.0:
        at, mask = _pixels(side, TILE)
        pixels = side * side
        x = at % side
        solarizes = tl.load(flags + row * 3 + 2)
        for channel in tl.static_range(3):
            plane = blurred + (row.to(tl.int64) * 3 + channel) * pixels
            value = _blurred(plane, sigma, radius, at // side, x, side, side, mask)
            _finish(out, moments, value, solarizes, row, at, mask, pixels, channel)
