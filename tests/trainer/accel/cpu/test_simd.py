"""Runs of numbers in compiled code, against torch and numpy."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.accel.cpu.jit import compiled_now
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
SPECIAL = (math.inf, -math.inf, math.nan, 0.0, -0.0, 1e-40)


@compiled_now("void(f4[:,::1], u2[:,::1], f4[:,::1])")
def narrow_and_widen(values: Floats, bits: NDArray[np.uint16], back: Floats) -> None:
    for line in range(values.shape[0]):
        for at in range(0, values.shape[1], WIDTH):
            store_bf16(bits, line, at, floats(values, line, at))
            put_floats(back, line, at, load_bf16(bits, line, at))


@compiled_now("void(f4[:,::1], f4[:,::1], f4, f4[:,:,::1])")
def combine(a: Floats, b: Floats, number: np.float32, found: Floats) -> None:
    for line in range(a.shape[0]):
        for at in range(0, a.shape[1], WIDTH):
            left, right, same = floats(a, line, at), floats(b, line, at), all_of(number)
            put_floats(found[0], line, at, left + right)
            put_floats(found[1], line, at, left - right)
            put_floats(found[2], line, at, left * right)
            put_floats(found[3], line, at, maximum(left, same))
            put_floats(found[4], line, at, relu_mask(left, same, right))


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
