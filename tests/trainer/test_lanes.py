"""Runs of numbers in compiled code, against torch and numpy."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainer.compiling import compiled_now
from trainer.lanes import (
    WIDTH,
    all_of,
    at_least,
    floats,
    halves,
    power_of_two,
    put_floats,
    put_halves,
    put_pairs,
    unless_same,
    where_above,
)

Floats = NDArray[np.float32]
SPECIAL = (math.inf, -math.inf, math.nan, 0.0, -0.0, 1e-40)


@compiled_now("void(f4[:,::1], u2[:,::1], f4[:,::1])")
def narrow_and_widen(values: Floats, bits: NDArray[np.uint16], back: Floats) -> None:
    for line in range(values.shape[0]):
        for at in range(0, values.shape[1], WIDTH):
            put_halves(bits, line, at, floats(values, line, at))
            put_floats(back, line, at, halves(bits, line, at))


@compiled_now("void(f4[:,::1], f4[:,::1], f4, f4[:,:,::1])")
def combine(a: Floats, b: Floats, number: np.float32, found: Floats) -> None:
    for line in range(a.shape[0]):
        for at in range(0, a.shape[1], WIDTH):
            left, right, same = floats(a, line, at), floats(b, line, at), all_of(number)
            put_floats(found[0], line, at, left + right)
            put_floats(found[1], line, at, left - right)
            put_floats(found[2], line, at, left * right)
            put_floats(found[3], line, at, at_least(left, same))
            put_floats(found[4], line, at, where_above(left, same, right))


def of_every_kind(lines: int, *, seed: int) -> Floats:
    """Float32 of all magnitudes, ties between two bfloat16, and what is not finite."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2**32, (lines, 3 * WIDTH), dtype=np.uint64).astype(np.uint32)
    bits[0] = (bits[0] & np.uint32(0xFFFF0000)) | np.uint32(0x8000)
    values = bits.view(np.float32)
    values = np.where(np.isnan(values), np.float32(1.5), values)
    values[1, : len(SPECIAL)] = SPECIAL
    return np.ascontiguousarray(values, np.float32)


def test_rounding_is_torchs() -> None:
    values = of_every_kind(2000, seed=0)
    bits, back = np.empty(values.shape, np.uint16), np.empty_like(values)
    narrow_and_widen(values, bits, back)
    wanted = torch.from_numpy(values).bfloat16()
    assert torch.equal(torch.from_numpy(bits).view(torch.bfloat16).isnan(), wanted.isnan())
    is_number = ~np.isnan(values)
    assert np.array_equal(bits[is_number], wanted.view(torch.uint16).numpy()[is_number])
    assert np.array_equal(back, wanted.float().numpy(), equal_nan=True)


def test_arithmetic_and_choices_are_numpys() -> None:
    a, b = of_every_kind(200, seed=1), of_every_kind(200, seed=2)
    found = np.empty((5, *a.shape), np.float32)
    combine(a, b, np.float32(0.25), found)
    with np.errstate(all="ignore"):
        wanted = np.stack(
            [
                a + b,
                a - b,
                a * b,
                np.where(a < 0.25, np.float32(0.25), a),
                np.where(a <= 0.25, np.float32(0.0), b),
            ]
        )
    assert np.array_equal(found, wanted, equal_nan=True)


def test_two_lines_become_pairs_of_bfloat16() -> None:
    """Rounded as torch does, but for ties."""

    @compiled_now("void(f4[:,::1], u2[:,::1])")
    def weave(values: Floats, bits: NDArray[np.uint16]) -> None:
        put_pairs(bits, 3, floats(values, 0, 0), floats(values, 1, 0))

    values = np.random.default_rng(0).normal(size=(2, WIDTH)).astype(np.float32)
    values[:, 0] = np.array([1.0, -1.0], np.float32) * np.float32(1.0 + 2.0**-8)  # ties
    values[:, 1] = math.inf, 0.0
    bits = np.zeros((3 + WIDTH, WIDTH), np.uint16)
    weave(values, bits)
    wanted = torch.from_numpy(values).bfloat16()
    wanted[:, 0] = torch.tensor([1.0, -1.0]) * (1.0 + 2.0**-7)
    found = torch.from_numpy(bits).view(torch.bfloat16)
    half = WIDTH // 2
    assert torch.equal(found[3], wanted[:, :half].T.flatten())
    assert torch.equal(found[3 + half], wanted[:, half:].T.flatten())
    assert not found[[line for line in range(len(found)) if line not in {3, 3 + half}]].any()


def test_lanes_of_a_number_become_zero() -> None:
    @compiled_now("void(i4[:,::1], i4, f4[:,::1], f4[:,::1])")
    def clear(numbers: NDArray[np.int32], number: np.int32, values: Floats, found: Floats) -> None:
        for at in range(0, values.shape[1], WIDTH):
            put_floats(found, 0, at, unless_same(numbers, 1, at, number, floats(values, 0, at)))

    numbers = np.arange(-3 * WIDTH, 3 * WIDTH, dtype=np.int32).reshape(2, -1) % 7 - 3
    values = np.linspace(1.0, 2.0, 3 * WIDTH, dtype=np.float32)[None]
    for number in (-3, 0, 3, 9):
        found = np.empty_like(values)
        clear(numbers, np.int32(number), values, found)
        assert np.array_equal(found[0], np.where(numbers[1] == number, np.float32(0.0), values[0]))


@pytest.mark.skipif(
    not torch.cpu.get_capabilities().get("avx512_f"), reason="this CPU has no AVX-512"
)
def test_powers_of_two_are_numpys() -> None:
    @compiled_now("void(f4[:,::1], f4[:,::1])")
    def raise_two(values: Floats, found: Floats) -> None:
        for line in range(values.shape[0]):
            put_floats(found, line, 0, power_of_two(floats(values, line, 0)))

    values = np.linspace(-126.0, 127.99, 4000 * WIDTH, dtype=np.float32).reshape(-1, WIDTH)
    found = np.empty_like(values)
    raise_two(values, found)
    wanted = np.exp2(values.astype(np.float64))
    assert np.abs(found / wanted - 1.0).max() < 3e-7
    far = np.zeros((1, WIDTH), np.float32)
    far[0, :5] = -1e30, -200.0, 128.0, 1e30, math.nan
    found = np.empty_like(far)
    raise_two(far, found)
    assert np.array_equal(
        found[0, :6], [0.0, 0.0, math.inf, math.inf, math.nan, 1.0], equal_nan=True
    )
