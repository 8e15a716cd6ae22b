"""Convolutions of many channels over few pixels, as matrix products.

On a CPU in bfloat16 the library's own convolution falls to a tenth of the speed of a matrix
product where the area is small: its gradient of the weights most of all. There the pixels under
each position of the kernel are laid side by side, as columns, and multiplied at once
(Chellapilla, Puri, Simard 2006, "High performance convolutional neural networks").
"""

from math import gcd
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from trainer.util.autograd import Context

AREA_PX_MAX = 16
"""Maximum output area, in pixels, at which all three matrix products are faster."""
STRIDED_AREA_PX_MAX = 64
"""The same for a stride above 1."""
CHANNELS_MIN = 128
"""Minimum number of input channels for matrix products."""
WEIGHTS_CHANNELS_MIN = 64
"""Minimum of channels for the weight gradient alone, up to STRIDED_AREA_PX_MAX pixels."""
ABREAST = 8
"""Images side by side, where they are laid so."""


class Products(NamedTuple):
    """Passes of a convolution that are computed as matrix products."""

    whole: bool
    """All three passes, from columns."""
    weights: bool
    """The gradient of the weights, from columns or with images side by side."""


class Geometry(NamedTuple):
    """Square, in pixels."""

    kernel: int
    stride: int
    padding: int

    def out(self, side: int) -> int:
        """Return the side of the output."""
        return (side + 2 * self.padding - self.kernel) // self.stride + 1


class Conv2d(nn.Conv2d):
    """nn.Conv2d without bias, square; faster on a CPU in bfloat16 where that is possible."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, D, H', W']."""
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        geometry = Geometry(self.kernel_size[0], self.stride[0], int(self.padding[0]))
        products = choose_products(self.in_channels, x.shape[2], x.shape[3], geometry)
        if not any(products):
            return super().forward(x)
        dtype = torch.get_autocast_dtype("cpu")
        with torch.autocast("cpu", enabled=False):
            out: Tensor = _Product.apply(x.to(dtype), self.weight.to(dtype), geometry, products)
        return out


def use_matmul_convs(network: nn.Module) -> nn.Module:
    """Replace each plain nn.Conv2d by the Conv2d of this module; the weights stay the same."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Conv2d and _is_plain(child):
                setattr(parent, name, _matmul_conv(child))
    return network


def choose_products(channels: int, height: int, width: int, geometry: Geometry) -> Products:
    """Choose by shape alone, so that every attempt of a job uses the same kernels."""
    area_px = geometry.out(height) * geometry.out(width)
    limit_px = STRIDED_AREA_PX_MAX if geometry.stride > 1 else AREA_PX_MAX
    whole = area_px <= limit_px and channels >= CHANNELS_MIN
    return Products(
        whole, whole or (area_px <= STRIDED_AREA_PX_MAX and channels >= WEIGHTS_CHANNELS_MIN)
    )


def im2col(x: Tensor, geometry: Geometry) -> Tensor:
    """Return the pixels under the kernel at each position: [N, C, H, W] to [N H' W', k k C]."""
    batch, channels, height, width = x.shape
    kernel, stride, padding = geometry
    if kernel == 1:
        return x.permute(0, 2, 3, 1)[:, ::stride, ::stride].reshape(-1, channels)
    lines = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))
    by_row, by_line, by_pixel, _ = lines.stride()
    positions = (geometry.out(height), geometry.out(width))
    # The pixels of one line of the kernel are neighbours in memory, with all their channels.
    shape = (batch, *positions, kernel, kernel * channels)
    windows = lines.as_strided(shape, (by_row, by_line * stride, by_pixel * stride, by_line, 1))
    return windows.reshape(-1, kernel * kernel * channels)


def input_gradient(grad: Tensor, weight: Tensor, like: Tensor, geometry: Geometry) -> Tensor:
    """Return the gradient [N, C, H, W] of the input `like` from that of the output [N, D, H', W'].

    Pixels at the same offset within the stride use the same kernel elements. Each offset is one
    matrix product, so each pixel is summed in fp32 and rounded once.
    """
    batch, channels, height, width = like.shape
    margin = geometry.kernel  # more than the reach of any element of the kernel
    lines = F.pad(grad.permute(0, 2, 3, 1), (0, 0, margin, margin, margin, margin))
    gradient = like.new_empty((batch, height, width, channels))
    for top in range(geometry.stride):
        for left in range(geometry.stride):
            kind = gradient[:, top :: geometry.stride, left :: geometry.stride]
            down, across = kind.shape[1:3]
            parts, taps = [], []
            for line, above in _reach(top, geometry):
                for pixel, before in _reach(left, geometry):
                    rows = slice(margin + above, margin + above + down)
                    parts.append(lines[:, rows, margin + before : margin + before + across])
                    taps.append(weight[:, :, line, pixel])
            if parts:
                product = torch.cat(parts, dim=3).flatten(0, 2) @ torch.cat(taps)
                kind.copy_(product.view(kind.shape))
            else:
                kind.zero_()
    return gradient.permute(0, 3, 1, 2)


def _reach(pixel: int, geometry: Geometry) -> list[tuple[int, int]]:
    """Return the kernel's elements that touch a pixel of a stride, with the output's offset."""
    kernel, stride, padding = geometry
    steps = [(tap, pixel + padding - tap) for tap in range(kernel)]
    return [(tap, step // stride) for tap, step in steps if step % stride == 0]


def weights_side_by_side(grad: Tensor, weight: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
    """Return the gradient of the weight [D, C, k, k] by torch's convolution of wide images.

    Several images lie side by side, because the library sums along a row of pixels first, which is
    slow for rows of 8. Enough zeros lie between them that no window covers two.
    """
    kernel, stride, padding = geometry
    abreast = gcd(len(x), ABREAST)
    width, positions = x.shape[3], geometry.out(x.shape[3])
    apart = -(-max(width + padding, positions * stride) // stride) * stride  # from image to image
    wide_x = _abreast(
        x, abreast, apart=apart, before=padding, total=abreast * apart + kernel - stride
    )
    across = apart // stride
    wide_grad = _abreast(grad, abreast, apart=across, before=0, total=abreast * across)
    settings = ([stride] * 2, [padding, 0], [1, 1], False, [0, 0], 1)
    gradient: Tensor = torch.ops.aten.convolution_backward(
        wide_grad, wide_x, weight, None, *settings, [False, True, False]
    )[1]
    return gradient


def _abreast(x: Tensor, abreast: int, *, apart: int, before: int, total: int) -> Tensor:
    """Lay out [N, C, H, W] as [N / abreast, C, H, total], `apart` pixels from image to image."""
    batch, channels, height, width = x.shape
    laid = x.new_zeros(batch // abreast, height, max(total, before + abreast * apart), channels)
    slots = laid[:, :, before : before + abreast * apart].view(
        len(laid), height, abreast, apart, channels
    )
    images = x.permute(0, 2, 3, 1).reshape(-1, abreast, height, width, channels)
    slots[:, :, :, :width].copy_(images.transpose(1, 2))
    return laid[:, :, :total].permute(0, 3, 1, 2)


class _Context(Context, Protocol):
    geometry: Geometry
    products: Products


class _Product(torch.autograd.Function):
    """Convolution that uses matrix products for the passes that `products` names."""

    @staticmethod
    def forward(
        ctx: _Context, x: Tensor, weight: Tensor, geometry: Geometry, products: Products
    ) -> Tensor:
        """Return the same as F.conv2d. The columns are kept for the gradient of the weights."""
        ctx.geometry, ctx.products = geometry, products
        if not products.whole:
            ctx.save_for_backward(x, weight)
            return F.conv2d(x, weight, stride=geometry.stride, padding=geometry.padding)
        laid = im2col(x, geometry)
        ctx.save_for_backward(x, weight, laid)
        sides = (geometry.out(x.shape[2]), geometry.out(x.shape[3]))
        out = laid @ _matrix(weight).t()
        return out.view(len(x), *sides, -1).permute(0, 3, 1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Return the gradients of x and of the weights."""
        x, weight, *kept = ctx.saved_tensors
        geometry, (whole, _) = ctx.geometry, ctx.products
        of_x = of_weight = None
        if ctx.needs_input_grad[1] and (kept or geometry.kernel == 1):  # then columns cost nothing
            laid = kept[0] if kept else im2col(x, geometry)
            flat = grad.permute(0, 2, 3, 1).reshape(-1, grad.shape[1])
            of_weight = _unmatrix(flat.t() @ laid, weight)
        elif ctx.needs_input_grad[1]:
            of_weight = weights_side_by_side(grad, weight, x, geometry)
        if ctx.needs_input_grad[0]:
            of_x = (input_gradient if whole else _by_library)(grad, weight, x, geometry)
        return of_x, of_weight, None, None


def _by_library(grad: Tensor, weight: Tensor, like: Tensor, geometry: Geometry) -> Tensor:
    """Return the gradient of `input_gradient` by torch's own convolution."""
    _, stride, padding = geometry
    settings = {"stride": stride, "padding": padding}
    gradient: Tensor = conv2d_input(like.shape, weight, grad, **settings)  # type: ignore[no-untyped-call]  # torch
    return gradient


def _matrix(weight: Tensor) -> Tensor:
    """Reshape [D, C, k, k] to [D, k k C], in the order of `im2col`."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _unmatrix(matrix: Tensor, weight: Tensor) -> Tensor:
    """Reshape [D, k k C] to the shape of the weight."""
    width, channels, kernel, _ = weight.shape
    return matrix.view(width, kernel, kernel, channels).permute(0, 3, 1, 2)


def _is_plain(conv: nn.Conv2d) -> bool:
    kernel, stride, padding = conv.kernel_size, conv.stride, conv.padding
    square = all(len({*map(int, pair)}) == 1 for pair in (kernel, stride, padding))
    return square and conv.bias is None and conv.groups == 1 and {*conv.dilation} == {1}


def _matmul_conv(conv: nn.Conv2d) -> Conv2d:
    with torch.device("meta"):  # its own weights would be drawn, and thrown away
        conv2d = Conv2d(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size[0],
            stride=conv.stride[0],
            padding=int(conv.padding[0]),
            bias=False,
        )
    conv2d.weight = conv.weight
    return conv2d
