"""Batch norm of groups of rows with what follows it, in Triton.

A group of rows is one run of memory, in contiguous memory and in channels_last alike. It is read as
`lines` of `pixels`: one line of all its pixels in channels_last, a line for each row otherwise.
A tile is P_TILE pixels of a line by C_TILE channels; a program takes `tiles` tiles in order, one
after the other, and sums over programs are taken in the order of their numbers: no sum depends on
which program ends first.

Sums are in float32. Mean and squared deviations are those of Welford 1962 for each lane of a tile,
joined as in Chan, Golub and LeVeque 1983, so that a mean far from 0 costs no digits. Ioffe and
Szegedy 2015 (arXiv:1502.03167), Algorithm 1 and the gradients of section 3.

Importing this module imports Triton.
"""

# ruff: noqa: PLR0913, PLR0917  # an argument for each number: a kernel takes no records

import triton
import triton.language as tl


@triton.jit
def _channels(axis: tl.constexpr, channels: tl.tensor, C_TILE: tl.constexpr) -> tl.tensor:
    """Return the channels of a program, [C_TILE], by its number on an axis; and which exist."""
    channel = tl.program_id(axis) * C_TILE + tl.arange(0, C_TILE)
    return channel, channel < channels


@triton.jit
def _tiles(
    lines: tl.tensor, pixels: tl.tensor, tiles: tl.tensor, P_TILE: tl.constexpr
) -> tl.tensor:
    """Return the first tile of a program (axis 0), and the one after its last."""
    first = tl.program_id(0) * tiles
    return first, tl.minimum(first + tiles, lines * tl.cdiv(pixels, P_TILE))


@triton.jit
def _tile(
    tile: tl.tensor,
    channel: tl.tensor,
    pixels: tl.tensor,
    channels: tl.tensor,
    line_step: tl.tensor,
    pixel_step: tl.tensor,
    channel_step: tl.tensor,
    P_TILE: tl.constexpr,
) -> tl.tensor:
    """Return a tile's offsets within its group, which of them exist, and which pixels [P_TILE]."""
    tiles_per_line = tl.cdiv(pixels, P_TILE)
    line = tile // tiles_per_line
    pixel = (tile - line * tiles_per_line) * P_TILE + tl.arange(0, P_TILE)
    at = line * line_step + pixel * pixel_step
    inside = pixel < pixels
    mask = inside[:, None] & (channel < channels)[None, :]
    return at[:, None] + channel[None, :] * channel_step, mask, inside


@triton.jit
def _load(values: tl.tensor, mask: tl.tensor) -> tl.tensor:
    """Return values in float32, 0 where the mask is not set."""
    return tl.load(values, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _parts(
    parts: tl.tensor,  # float32 [groups, programs, VALUES, C]
    programs: tl.tensor,
    channel: tl.tensor,
    channels: tl.tensor,
    VALUES: tl.constexpr,
    PROGRAMS_TILE: tl.constexpr,
) -> tl.tensor:
    """Return where the first values of all parts of a group (axis 1) are, and which exist."""
    program = tl.arange(0, PROGRAMS_TILE)
    row = tl.program_id(1) * programs + program[:, None]
    mask = (program < programs)[:, None] & (channel < channels)[None, :]
    return parts + row * VALUES * channels + channel[None, :], mask


@triton.jit
def _join(means: tl.tensor, deviations: tl.tensor, counts: tl.tensor) -> tl.tensor:
    """Return mean and squared deviations [C] of parts [parts, C] with `counts` pixels each."""
    mean = tl.sum(means * counts, axis=0) / tl.sum(counts, axis=0)
    apart = means - mean[None, :]
    return mean, tl.sum(deviations + counts * apart * apart, axis=0)


@triton.jit
def measure(
    x: tl.tensor,
    parts: tl.tensor,  # float32 [groups, programs, 3, C]: means, squared deviations, pixels
    lines: tl.tensor,
    pixels: tl.tensor,
    channels: tl.tensor,
    line_step: tl.tensor,
    pixel_step: tl.tensor,
    channel_step: tl.tensor,
    tiles: tl.tensor,
    P_TILE: tl.constexpr,
    C_TILE: tl.constexpr,
) -> None:
    """Fill `parts`: statistics of the pixels of each program (axis 0), channels (1), group (2)."""
    program, group = tl.program_id(0), tl.program_id(2)
    channel, known = _channels(1, channels, C_TILE)
    first, end = _tiles(lines, pixels, tiles, P_TILE)
    x += group.to(tl.int64) * (lines * pixels * channels)
    mean = tl.zeros([P_TILE, C_TILE], tl.float32)
    deviation = tl.zeros([P_TILE, C_TILE], tl.float32)
    count = tl.zeros([P_TILE], tl.float32)
    for tile in range(first, end):
        at, mask, inside = _tile(
            tile, channel, pixels, channels, line_step, pixel_step, channel_step, P_TILE
        )
        value = _load(x + at, mask)
        one = inside.to(tl.float32)
        count += one
        apart = value - mean
        mean += apart * (one / tl.maximum(count, 1.0))[:, None]
        deviation += apart * (value - mean) * one[:, None]
    counts = tl.broadcast_to(count[:, None], [P_TILE, C_TILE])
    joined_mean, joined_deviation = _join(mean, deviation, counts)
    parts += (group * tl.num_programs(0) + program) * 3 * channels + channel
    tl.store(parts, joined_mean, mask=known)
    tl.store(parts + channels, joined_deviation, mask=known)
    tl.store(parts + 2 * channels, tl.sum(counts, axis=0), mask=known)


@triton.jit
def join_parts(
    parts: tl.tensor,  # as `measure` has filled it
    moments: tl.tensor,  # float32 [groups, 3, C]: mean, 1 / std, biased variance
    programs: tl.tensor,
    channels: tl.tensor,
    pixels: tl.tensor,  # of a group
    eps: tl.tensor,
    PROGRAMS_TILE: tl.constexpr,
    C_TILE: tl.constexpr,
) -> None:
    """Fill `moments` of channels (axis 0) of a group (1)."""
    group = tl.program_id(1)
    channel, known = _channels(0, channels, C_TILE)
    at, mask = _parts(parts, programs, channel, channels, 3, PROGRAMS_TILE)
    means = tl.load(at, mask=mask, other=0.0)
    deviations = tl.load(at + channels, mask=mask, other=0.0)
    counts = tl.load(at + 2 * channels, mask=mask, other=0.0)
    # Channels beyond the last have no pixels; a divisor of 0 would warn in the interpreter.
    counts = tl.where(known[None, :], counts, 1.0)
    mean, deviation = _join(means, deviations, counts)
    variance = deviation / pixels
    moments += group * 3 * channels + channel
    tl.store(moments, mean, mask=known)
    tl.store(moments + channels, 1.0 / tl.sqrt(variance + eps), mask=known)
    tl.store(moments + 2 * channels, variance, mask=known)


@triton.jit
def move_running(
    moments: tl.tensor,
    running_mean: tl.tensor,
    running_var: tl.tensor,
    groups: tl.tensor,
    channels: tl.tensor,
    pixels: tl.tensor,
    momentum: tl.tensor,
    G_TILE: tl.constexpr,
    C_TILE: tl.constexpr,
) -> None:
    """Move the running statistics by the groups' mean, its variance unbiased."""
    channel, known = _channels(0, channels, C_TILE)
    mean = tl.zeros([C_TILE], tl.float32)
    variance = tl.zeros([C_TILE], tl.float32)
    for first in range(0, groups, G_TILE):
        group = first + tl.arange(0, G_TILE)
        mask = (group < groups)[:, None] & known[None, :]
        at = moments + group[:, None] * 3 * channels + channel[None, :]
        mean += tl.sum(tl.load(at, mask=mask, other=0.0), axis=0)
        variance += tl.sum(tl.load(at + 2 * channels, mask=mask, other=0.0), axis=0)
    variance *= pixels / (pixels - 1)
    old = tl.load(running_mean + channel, mask=known, other=0.0)
    tl.store(running_mean + channel, old + momentum * (mean / groups - old), mask=known)
    old = tl.load(running_var + channel, mask=known, other=0.0)
    tl.store(running_var + channel, old + momentum * (variance / groups - old), mask=known)


@triton.jit
def _line(
    moments: tl.tensor, weight: tl.tensor, bias: tl.tensor, channel: tl.tensor, channels: tl.tensor
) -> tl.tensor:
    """Return mean, 1 / std, slope and level [1, C_TILE] of the normalization of a group."""
    known = channel < channels
    mean = tl.load(moments + channel, mask=known, other=0.0)
    inverse = tl.load(moments + channels + channel, mask=known, other=0.0)
    slope = inverse * tl.load(weight + channel, mask=known, other=0.0)
    level = tl.load(bias + channel, mask=known, other=0.0)
    return mean[None, :], inverse[None, :], slope[None, :], level[None, :]


@triton.jit
def normalise(
    x: tl.tensor,
    added: tl.tensor,  # like x; read only if ADDS
    moments: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,  # like x; may be x
    lines: tl.tensor,
    pixels: tl.tensor,
    channels: tl.tensor,
    line_step: tl.tensor,
    pixel_step: tl.tensor,
    channel_step: tl.tensor,
    tiles: tl.tensor,
    ADDS: tl.constexpr,
    RELU: tl.constexpr,
    P_TILE: tl.constexpr,
    C_TILE: tl.constexpr,
) -> None:
    """Fill `out`: normalized, plus `added`, through the ReLU; axes as in `measure`."""
    group = tl.program_id(2)
    channel, _ = _channels(1, channels, C_TILE)
    first, end = _tiles(lines, pixels, tiles, P_TILE)
    group_at = group.to(tl.int64) * (lines * pixels * channels)
    moments += group * 3 * channels
    mean, _, slope, level = _line(moments, weight, bias, channel, channels)
    for tile in range(first, end):
        at, mask, _inside = _tile(
            tile, channel, pixels, channels, line_step, pixel_step, channel_step, P_TILE
        )
        at += group_at
        value = _load(x + at, mask)
        value = (value - mean) * slope + level
        if ADDS:
            value += _load(added + at, mask)
        if RELU:
            value = tl.where(value < 0.0, 0.0, value)  # NaN stays
        tl.store(out + at, value.to(out.dtype.element_ty), mask=mask)


@triton.jit
def sum_gradients(
    grad: tl.tensor,  # of what `normalise` filled, like x
    x: tl.tensor,
    out: tl.tensor,  # what `normalise` filled; read only if ADDS and RELU
    moments: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    of_added: tl.tensor,  # like x; filled if ADDS and RELU, with what the ReLU passes
    parts: tl.tensor,  # float32 [groups, programs, 2, C]: sums of the gradient, and along x
    lines: tl.tensor,
    pixels: tl.tensor,
    channels: tl.tensor,
    line_step: tl.tensor,
    pixel_step: tl.tensor,
    channel_step: tl.tensor,
    tiles: tl.tensor,
    ADDS: tl.constexpr,
    RELU: tl.constexpr,
    P_TILE: tl.constexpr,
    C_TILE: tl.constexpr,
) -> None:
    """Fill `parts` and `of_added`; axes as in `measure`."""
    program, group = tl.program_id(0), tl.program_id(2)
    channel, known = _channels(1, channels, C_TILE)
    first, end = _tiles(lines, pixels, tiles, P_TILE)
    group_at = group.to(tl.int64) * (lines * pixels * channels)
    moments += group * 3 * channels
    mean, inverse, slope, level = _line(moments, weight, bias, channel, channels)
    total = tl.zeros([P_TILE, C_TILE], tl.float32)
    along = tl.zeros([P_TILE, C_TILE], tl.float32)
    for tile in range(first, end):
        at, mask, _inside = _tile(
            tile, channel, pixels, channels, line_step, pixel_step, channel_step, P_TILE
        )
        at += group_at
        apart = _load(x + at, mask) - mean
        passed = _load(grad + at, mask)
        if RELU:
            reached = _load(out + at, mask) if ADDS else apart * slope + level
            passed = tl.where(reached <= 0.0, 0.0, passed)  # NaN passes it, as in torch
            if ADDS:
                tl.store(of_added + at, passed.to(of_added.dtype.element_ty), mask=mask)
        total += passed
        along += passed * apart * inverse
    parts += (group * tl.num_programs(0) + program) * 2 * channels + channel
    tl.store(parts, tl.sum(total, axis=0), mask=known)
    tl.store(parts + channels, tl.sum(along, axis=0), mask=known)


@triton.jit
def join_sums(
    parts: tl.tensor,  # as `sum_gradients` has filled it
    sums: tl.tensor,  # float32 [groups, 2, C]: gradients of bias and weight by each group
    programs: tl.tensor,
    channels: tl.tensor,
    PROGRAMS_TILE: tl.constexpr,
    C_TILE: tl.constexpr,
) -> None:
    """Fill `sums` of channels (axis 0) of a group (1)."""
    group = tl.program_id(1)
    channel, known = _channels(0, channels, C_TILE)
    at, mask = _parts(parts, programs, channel, channels, 2, PROGRAMS_TILE)
    sums += group * 2 * channels + channel
    for which in tl.static_range(2):
        part = tl.load(at + which * channels, mask=mask, other=0.0)
        tl.store(sums + which * channels, tl.sum(part, axis=0), mask=known)


@triton.jit
def spread_gradients(
    grad: tl.tensor,  # of what `normalise` filled; what its ReLU passed if it added
    x: tl.tensor,
    moments: tl.tensor,
    sums: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    of_x: tl.tensor,
    lines: tl.tensor,
    pixels: tl.tensor,
    channels: tl.tensor,
    line_step: tl.tensor,
    pixel_step: tl.tensor,
    channel_step: tl.tensor,
    tiles: tl.tensor,
    MASKS: tl.constexpr,
    P_TILE: tl.constexpr,
    C_TILE: tl.constexpr,
) -> None:
    """Fill `of_x`; MASKS: the ReLU is still to be applied. Axes as in `measure`."""
    group = tl.program_id(2)
    channel, known = _channels(1, channels, C_TILE)
    first, end = _tiles(lines, pixels, tiles, P_TILE)
    group_at = group.to(tl.int64) * (lines * pixels * channels)
    moments += group * 3 * channels
    mean, inverse, slope, level = _line(moments, weight, bias, channel, channels)
    sums += group * 2 * channels + channel
    count = lines * pixels
    total = tl.load(sums, mask=known, other=0.0)[None, :] / count
    along = tl.load(sums + channels, mask=known, other=0.0)[None, :] / count
    for tile in range(first, end):
        at, mask, _inside = _tile(
            tile, channel, pixels, channels, line_step, pixel_step, channel_step, P_TILE
        )
        at += group_at
        apart = _load(x + at, mask) - mean
        passed = _load(grad + at, mask)
        if MASKS:
            passed = tl.where(apart * slope + level <= 0.0, 0.0, passed)
        value = slope * (passed - total - apart * inverse * along)
        tl.store(of_x + at, value.to(of_x.dtype.element_ty), mask=mask)
