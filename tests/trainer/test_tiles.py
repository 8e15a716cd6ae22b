"""The matrix unit, against numpy in float64."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainer import tiles
from trainer.compiling import compiled_now

Halves = NDArray[np.uint16]
Floats = NDArray[np.float32]

needs_tiles = pytest.mark.skipif(
    not tiles.are_there(), reason="this CPU has no matrix unit for bfloat16"
)


def matrix(lines: int, columns: int, *, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(lines, columns, generator=generator).bfloat16()


def bits(matrix: torch.Tensor) -> Halves:
    return matrix.contiguous().view(torch.uint16).numpy()


def in_pairs(matrix: torch.Tensor) -> torch.Tensor:
    """Two lines woven into one: [2 L, C] to [L, 2 C]."""
    lines, columns = matrix.shape
    return matrix.view(lines // 2, 2, columns).transpose(1, 2).reshape(lines // 2, 2 * columns)


def test_are_there_where_the_kernel_says_so() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    assert tiles.are_there() == ("amx_tile" in flags and "amx_bf16" in flags)


@needs_tiles
@pytest.mark.parametrize("common", [32, 96])
def test_products_of_tiles_are_those_of_matrices(common: int) -> None:
    """With sums that were there, in arrays that are wider than a tile."""
    left, right = matrix(32, common, seed=0), matrix(common, 32, seed=1)
    before = torch.randn(32, 40, generator=torch.Generator().manual_seed(2))
    found = before.clone()

    @compiled_now("void(u2[:,::1], u2[:,::1], f4[:,::1], i8)")
    def multiply(left: Halves, right: Halves, sums: Floats, common: int) -> None:
        was = np.zeros(tiles.LINE_BYTES, np.uint8)
        tiles.get_layout(was)
        tiles.set_layout(tiles.LAYOUT)
        tiles.clear_sums()
        tiles.get_sums(sums, (0, 16 * 160, 160))
        for at in range(0, common, 32):
            tiles.read_soon(left, 2 * at)
            tiles.add_products(left, (2 * at, 32 * common, 2 * common), right, (64 * at, 64, 128))
        tiles.put_sums(sums, (0, 16 * 160, 160))
        tiles.set_layout(was)

    multiply(bits(left), bits(in_pairs(right)), found.numpy(), common)
    wanted = before.double()
    wanted[:, :32] += left.double() @ right.double()
    assert torch.allclose(found.double(), wanted, rtol=1e-5, atol=1e-4)
    assert torch.equal(found[:, 32:], before[:, 32:])


@needs_tiles
def test_a_layout_can_be_put_back_as_it_was() -> None:
    """Or the library, which lays its tiles out once for many products, would go on with ours."""

    @compiled_now("void(u1[::1], u1[::1], u1[::1])")
    def borrow(
        theirs: NDArray[np.uint8], ours: NDArray[np.uint8], after: NDArray[np.uint8]
    ) -> None:
        tiles.set_layout(theirs)
        was = np.zeros(tiles.LINE_BYTES, np.uint8)
        tiles.get_layout(was)
        tiles.set_layout(tiles.LAYOUT)
        tiles.get_layout(ours)
        tiles.set_layout(was)
        tiles.get_layout(after)

    theirs, ours, after = (np.zeros(64, np.uint8) for _ in range(3))
    theirs[0], theirs[16], theirs[48] = 1, 32, 7  # one tile, of 7 lines of 32 bytes
    borrow(theirs, ours, after)
    assert np.array_equal(ours, tiles.LAYOUT)
    assert np.array_equal(after, theirs)
    borrow(np.zeros(64, np.uint8), ours, after)
    assert not after.any()
