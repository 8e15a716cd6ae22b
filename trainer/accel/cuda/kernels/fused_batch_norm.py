"""Split batch norm and what follows it by the kernels of `triton_batch_norm`.

Bytes per element, with e bytes each (2 in bfloat16). Forward: x is read for its statistics, then
read and written: 3 e, and e more to read what is added. Backward: gradient and x are read for the
sums, then both are read and the gradient of x written: 5 e; with what is added and a ReLU, the
first pass also reads the output and writes the gradient of what is added, which the second pass
reads in place of the gradient: 7 e.
"""

from importlib import import_module
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor

from trainer.accel.batch_norm import GroupedBatchNorm, contiguous_like, is_channels_last
from trainer.util.autograd import Context

KERNELS = "trainer.accel.cuda.kernels.triton_batch_norm"
"""Imported late, since it imports Triton."""
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
INT32_MAX = 2**31 - 1

# Constants, not of the device: the order of sums, and so the bits, follow from the shape.
TILE = 2048
"""Elements of a tile: 16 for each of the 128 threads of a program."""
CHANNELS_MAX = 64
"""Channels of a tile: a run of 128 bytes in bfloat16, channels_last."""
PROGRAMS_WANTED = 2048
"""Programs in all that sum: several for each multiprocessor of the largest GPUs."""
PROGRAMS_MAX = 128
"""Programs whose sums are joined by one."""
CHANNELS_JOINED = 16
"""Channels whose sums a program joins: all parts of them fit into its registers."""
TILES_OF_A_MAP = 4
"""Tiles that a program takes which sums nothing."""
GROUPS_TILE = 16
OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}


def _power_of_2(number: int) -> int:
    """Return the least power of 2 that is not below a number >= 1."""
    return 1 << (number - 1).bit_length()


class Layout(NamedTuple):
    """A group of rows as the kernels read it, and the work of a program. See there."""

    lines: int
    pixels: int
    channels: int
    line_step: int
    pixel_step: int
    channel_step: int
    groups: int
    p_tile: int
    c_tile: int

    @classmethod
    def of(cls, x: Tensor, groups: int) -> "Layout":
        """Return the layout of [N, C, H, W], contiguous or channels_last."""
        rows, channels, height, width = x.shape
        rows, area = rows // groups, height * width
        if is_channels_last(x):
            c_tile = min(CHANNELS_MAX, _power_of_2(channels))
            p_tile = min(TILE // c_tile, _power_of_2(rows * area))
            steps = (0, channels, 1)
            return cls(1, rows * area, channels, *steps, groups, p_tile, c_tile)
        p_tile = min(TILE // 4, _power_of_2(area))
        c_tile = min(CHANNELS_MAX, TILE // p_tile, _power_of_2(channels))
        steps = (channels * area, 1, area)
        return cls(rows, area, channels, *steps, groups, p_tile, c_tile)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The arguments of a kernel from `lines` to `channel_step`."""
        return tuple(self[:6])

    @property
    def options(self) -> dict[str, int]:
        """Shape of a tile and options of the compiler, as a kernel takes them."""
        return {"P_TILE": self.p_tile, "C_TILE": self.c_tile, **OPTIONS}

    @property
    def all_tiles(self) -> int:
        """Tiles of a group, for one run of channels."""
        return self.lines * -(-self.pixels // self.p_tile)

    @property
    def runs(self) -> int:
        """Runs of channels."""
        return -(-self.channels // self.c_tile)

    def sum_launch(self) -> "SumLaunch":
        """Return the launch of kernels that sum."""
        wanted = max(1, PROGRAMS_WANTED // (self.runs * self.groups))
        tiles = -(-self.all_tiles // min(wanted, PROGRAMS_MAX, self.all_tiles))
        return SumLaunch(tiles, self.grid(tiles), runs_joined=-(-self.channels // CHANNELS_JOINED))

    def grid(self, tiles: int) -> tuple[int, int, int]:
        """Return the programs that take so many tiles each, none of them idle."""
        return (-(-self.all_tiles // tiles), self.runs, self.groups)


class SumLaunch(NamedTuple):
    """Launch of a kernel whose programs fill parts, and of the one that joins them."""

    tiles: int
    """Tiles of each program."""
    grid: tuple[int, int, int]
    runs_joined: int
    """Runs of channels of the kernel that joins."""

    @property
    def join_options(self) -> dict[str, int]:
        """Sizes and options of the compiler of the kernel that joins."""
        return {"PROGRAMS_TILE": _power_of_2(self.grid[0]), "C_TILE": CHANNELS_JOINED, **OPTIONS}


class Settings(NamedTuple):
    """Settings of one call."""

    running: tuple[Tensor, Tensor]
    """Running mean and variance."""
    layout: Layout
    momentum: float
    eps: float
    relu: bool
    in_place: bool
    """Write the result over `x`, which is not needed again without a gradient."""


class _Context(Context, Protocol):
    settings: Settings
    adds: bool


def is_possible(x: Tensor, norm: GroupedBatchNorm) -> bool:
    """Return whether the kernels take it: floats in one of two layouts, offsets of 32 bits."""
    is_dense = is_channels_last(x) or x.is_contiguous()
    return is_dense and x.dtype in DTYPES and x.numel() // norm.groups <= INT32_MAX


def grouped_batch_norm(x: Tensor, norm: GroupedBatchNorm, *, added: Tensor | None) -> Tensor:
    """Normalize each group of rows, add `added`, apply the ReLU; running statistics are updated.

    `x` as `is_possible` wants it. Without gradients `x` is written over.
    """
    settings = Settings(
        running=(norm.running_mean, norm.running_var),
        layout=Layout.of(x, norm.groups),
        momentum=norm.momentum,
        eps=norm.eps,
        relu=norm.relu,
        in_place=not torch.is_grad_enabled(),
    )
    added = None if added is None else contiguous_like(added.to(x.dtype), x)
    return cast(Tensor, _Normed.apply(x, norm.weight, norm.bias, added, settings))


class _Normed(torch.autograd.Function):
    """Batch norm of each group; then what is added, then the ReLU."""

    @staticmethod
    def forward(
        ctx: _Context,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        added: Tensor | None,
        settings: Settings,
    ) -> Tensor:
        """Return the result; the running statistics are moved."""
        kernels: Any = import_module(KERNELS)
        layout, adds = settings.layout, added is not None
        moments = _moments(kernels, x, settings)
        out = x if settings.in_place else torch.empty_like(x)
        kernels.normalise[layout.grid(TILES_OF_A_MAP)](
            *(x, x if added is None else added, moments, weight, bias, out),
            *(*layout.sizes, TILES_OF_A_MAP),
            ADDS=adds,
            RELU=settings.relu,
            **layout.options,
        )
        reached = [out] if adds and settings.relu else []
        ctx.save_for_backward(x, weight, bias, moments, *reached)
        ctx.settings, ctx.adds = settings, adds
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of `x`, `weight`, `bias` and `added`."""
        x, weight, bias, moments, *reached = ctx.saved_tensors
        settings, kernels = ctx.settings, cast(Any, import_module(KERNELS))
        layout, grad = settings.layout, contiguous_like(grad, x)
        # Without a ReLU all of the gradient passes to what was added.
        passed = torch.empty_like(x) if reached else grad
        sums = _sums(kernels, grad, (x, *reached), (moments, weight, bias), passed, settings)
        of_x = torch.empty_like(x)
        kernels.spread_gradients[layout.grid(TILES_OF_A_MAP)](
            *(passed, x, moments, sums, weight, bias, of_x),
            *(*layout.sizes, TILES_OF_A_MAP),
            MASKS=settings.relu and not reached,
            **layout.options,
        )
        of_bias, of_weight = sums.sum(0)
        return of_x, of_weight, of_bias, passed if ctx.adds else None, None


def _moments(kernels: Any, x: Tensor, settings: Settings) -> Tensor:  # noqa: ANN401  # a module
    """Return mean, 1 / std and biased variance [groups, 3, C]; move the running statistics."""
    layout = settings.layout
    launch, channels = layout.sum_launch(), layout.channels
    programs, _, groups = launch.grid
    parts = x.new_empty((groups, programs, 3, channels), dtype=torch.float32)
    moments = x.new_empty((groups, 3, channels), dtype=torch.float32)
    count = layout.lines * layout.pixels
    kernels.measure[launch.grid](x, parts, *layout.sizes, launch.tiles, **layout.options)
    kernels.join_parts[launch.runs_joined, groups](
        *(parts, moments, programs, channels, count, settings.eps), **launch.join_options
    )
    kernels.move_running[launch.runs_joined,](
        *(moments, *settings.running, groups, channels, count, settings.momentum),
        G_TILE=GROUPS_TILE,
        C_TILE=CHANNELS_JOINED,
        **OPTIONS,
    )
    return moments


def _sums(
    kernels: Any,  # noqa: ANN401  # a module
    grad: Tensor,
    inputs: tuple[Tensor, ...],
    line: tuple[Tensor, Tensor, Tensor],
    passed: Tensor,
    settings: Settings,
) -> Tensor:
    """Return the gradients of bias and weight by each group, [groups, 2, C]; fill `passed`.

    `inputs` are x and, if the ReLU's output decides what passes, that output.
    """
    layout, adds = settings.layout, len(inputs) > 1
    launch, channels = layout.sum_launch(), layout.channels
    programs, _, groups = launch.grid
    parts = grad.new_empty((groups, programs, 2, channels), dtype=torch.float32)
    sums = grad.new_empty((groups, 2, channels), dtype=torch.float32)
    kernels.sum_gradients[launch.grid](
        *(grad, inputs[0], inputs[-1], *line, passed, parts, *layout.sizes, launch.tiles),
        ADDS=adds,
        RELU=settings.relu,
        **layout.options,
    )
    kernels.join_sums[launch.runs_joined, groups](
        *(parts, sums, programs, channels), **launch.join_options
    )
    return sums
