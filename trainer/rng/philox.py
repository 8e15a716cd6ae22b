"""Random numbers as pure functions of (seed, epoch, row, view): nothing to save, nothing to resume.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011)
turns a counter and a key into four 32-bit words. It is written in 64-bit integers, whose products
wrap the same way everywhere, so that numpy and any device of torch draw the same numbers. On the
host numpy does: for so few numbers a call of torch costs more than its work.
"""

import math
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Integers = NDArray[np.int64]
Word = TypeVar("Word", int, Tensor, Integers)
"""A number in [0, 2**32): a Python int, or an int64 tensor or array of such."""

Many = TypeVar("Many", Tensor, Integers)

MASK = 0xFFFF_FFFF
PHILOX_M0, PHILOX_M1 = 0xD251_1F53, 0xCD9E_8D57
PHILOX_W0, PHILOX_W1 = 0x9E37_79B9, 0xBB67_AE85
PHILOX_ROUNDS = 10
FEISTEL_ROUNDS = 10
SHUFFLE_STREAM = MASK
"""Stream id in place of a view number, so that row order and views never share a word."""
NEWEST_ORDER = 2
"""Version of the rule by which the orders of new jobs are drawn."""
SORT_BLOCK = 1 << 31
"""Block of the words that small orders are sorted by, apart from those of the round keys."""
SORTED_ROWS_MAX = 4096
"""Maximum rows for which an order of version 2 is a sort: every order is equally likely."""


def philox(counter: tuple[Word, Word, Word, Word], *, seed: int) -> tuple[Word, Word, Word, Word]:
    """Return four random words of a counter. `seed` in [0, 2**64) is the key, low word first."""
    c0, c1, c2, c3 = counter
    k0, k1 = seed & MASK, seed >> 32 & MASK
    for _ in range(PHILOX_ROUNDS):
        product0, product1 = c0 * PHILOX_M0, c2 * PHILOX_M1
        high0, high1 = product0 >> 32 & MASK, product1 >> 32 & MASK
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, product1 & MASK, high0 ^ c3 ^ k1, product0 & MASK
        k0, k1 = k0 + PHILOX_W0 & MASK, k1 + PHILOX_W1 & MASK
    return c0, c1, c2, c3


def uniforms(
    rows: Tensor, *, seed: int, epoch: int | Tensor, view: int | Tensor, count: int
) -> Tensor:
    """Return float32 [B, count] in [0, 1) on the device of `rows`, an int64 tensor [B] below 2**32.

    `epoch` may be an int64 tensor [] beside them. `view` is any number below 2**32 - 1, or an int64
    tensor [B] of such beside the rows. Each value has 24 random bits, so it is exact. A longer
    `count` begins with the values of a shorter one.
    """
    blocks = -(-count // 4)
    beside = view[:, None] if isinstance(view, Tensor) else view
    if rows.device.type == "cpu":
        of_view = beside.numpy() if isinstance(beside, Tensor) else beside
        host = _words(rows.numpy(), np.arange(blocks), int(epoch), of_view, seed=seed)
        drawn = np.stack(host, axis=2).reshape(len(rows), 4 * blocks)[:, :count]
        return torch.from_numpy((drawn >> 8).astype(np.float32) * np.float32(2.0**-24))
    words = _words(rows, torch.arange(blocks, device=rows.device), epoch, beside, seed=seed)
    bits = torch.stack(words, dim=2).flatten(1)[:, :count] >> 8
    return bits.to(torch.float32) * 2.0**-24


def _words(
    rows: Many, block: Many, epoch: int | Tensor, view: int | Many, *, seed: int
) -> tuple[Many, Many, Many, Many]:
    """Return four random words [B, N] for each row [B] and block [N]."""
    still = block & 0
    counter = (rows[:, None] & MASK | still, still + epoch & MASK, still + (view & MASK), block)
    return philox(counter, seed=seed)


def permuted_rows(
    positions: Tensor, *, total: int, seed: int, epoch: int, order: int = NEWEST_ORDER
) -> Tensor:
    """Return the rows at the given positions of an epoch's order, int64 on the host, in [0, total).

    The order is a permutation of `total` >= 1 rows keyed by (seed, epoch). A large one is never
    written out: a Feistel network on a grid of about sqrt(total) x sqrt(total) cells permutes the
    cells, and a position that lands past `total` walks on until it lands inside (Black and
    Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002).

    `order` is the version of this rule. Version 1 draws only even permutations where both sides
    of the grid are odd, and favors some orders of a few rows. Version 2 has an even side, which
    makes odd permutations as likely, and sorts random words where the rows are few.
    """
    if order >= NEWEST_ORDER and total <= SORTED_ROWS_MAX:
        return torch.from_numpy(_sorted_order(total, seed, epoch)[positions.numpy()])
    high = math.isqrt(total - 1) + 1
    if order >= NEWEST_ORDER:
        high += high % 2
    low = -(-total // high)
    keys = _round_keys(seed, epoch)
    rows = _permute_cells(positions.numpy(), high, low, keys)
    outside = np.flatnonzero(rows >= total)
    while len(outside):
        walked = _permute_cells(rows[outside], high, low, keys)
        rows[outside] = walked
        outside = outside[walked >= total]
    return torch.from_numpy(rows)


@lru_cache(maxsize=8)
def _sorted_order(total: int, seed: int, epoch: int) -> Integers:
    """Return all rows in the order of 63 random bits each, those of equal bits as they are."""
    block = np.array([SORT_BLOCK])
    first, second, *_ = _words(np.arange(total), block, epoch, SHUFFLE_STREAM, seed=seed)
    order: Integers = np.argsort((first << 31 | second >> 1)[:, 0], kind="stable")
    return order


@lru_cache(maxsize=4)
def _round_keys(seed: int, epoch: int) -> tuple[int, ...]:
    blocks = (
        philox((0, epoch & MASK, SHUFFLE_STREAM, block), seed=seed)
        for block in range(-(-FEISTEL_ROUNDS // 4))
    )
    return tuple(word for block in blocks for word in block)[:FEISTEL_ROUNDS]


def _permute_cells(cells: Integers, high: int, low: int, keys: tuple[int, ...]) -> Integers:
    """Apply one pass of an alternating Feistel network over the high x low cells."""
    left, right = np.divmod(cells, low)
    for turn, key in enumerate(keys):
        if turn % 2 == 0:
            left = (left + _mixed(right, key)) % high
        else:
            right = (right + _mixed(left, key)) % low
    return left * low + right


def _mixed(value: Integers, key: int) -> Integers:
    """Return a keyed hash to 32 bits: the finalizer of MurmurHash3."""
    value = (value + key) & MASK
    value = (value ^ value >> 16) * 0x85EB_CA6B & MASK
    value = (value ^ value >> 13) * 0xC2B2_AE35 & MASK
    return value ^ value >> 16
