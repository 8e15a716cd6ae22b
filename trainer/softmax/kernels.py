"""Softmax over negatives and their mean by its weights, in a CPU's matrix unit.

Some negatives at a time: logits of as many as two tiles have lines become weights while they are
in the core's nearest cache, and when as many have weights as fit its own cache, they are
multiplied by these. Weights are powers of two, not reduced by the greatest of them:
`trainer.softmax.compiled` looks whether their sums are in range. Compiled for this machine when
this module is loaded.

Dao et al. 2022 (arXiv:2205.14135), Algorithm 1, without its maxima.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.compiling import compiled_now, kernel
from trainer.lanes import Lanes, all_of, floats, power_of_two, put_floats, put_pairs, unless_same
from trainer.tiles import (
    LAYOUT,
    LINE_BYTES,
    LINES,
    SIDE,
    add_products,
    are_there,
    clear_sums,
    get_layout,
    get_sums,
    put_sums,
    read_soon,
    set_layout,
)

Floats = NDArray[np.float32]
Halves = NDArray[np.uint16]
"""The bits of bfloat16: the upper half of a float32."""
Words = NDArray[np.int32]
"""Pairs of them."""
Rows = NDArray[np.int64]

TOGETHER = 8
"""Blocks of negatives whose weights for 128 queries, 64 KiB, stay in the core's own cache."""
TILE_BYTES = LINES * LINE_BYTES
LOGITS = (0, 4 * LINES * SIDE, 4 * SIDE)
ZERO, HIDDEN = np.float32(0.0), np.float32(-1e30)

LOOK = "void(u2[:,:,::1], u2[:,:,::1], i8[::1], i8, i4[:,::1], f4[:,::1])"
at_once = compiled_now(LOOK) if are_there() else kernel
"""Where there are no tiles nothing is compiled, for LLVM would end the process."""


@kernel
def _lines(count: int, memory: NDArray[Any]) -> NDArray[Any]:
    """So many lines of SIDE numbers, from where a line of the cache begins.

    A tile that lies across such lines is read in six times the time.
    """
    first = -memory.ctypes.data % LINE_BYTES // memory.itemsize
    return memory[first : first + count * SIDE].reshape(count, SIDE)


@kernel
def _ask(blocks: Halves, block: int, asked: Words, query: int, logits: Floats) -> None:
    """Fill `logits` [SIDE, SIDE] of the negatives of a block and the queries from `query` on."""
    width, queries = blocks.shape[2], asked.shape[1]
    clear_sums()
    for at in range(0, width, SIDE):
        add_products(
            blocks,
            (2 * (block * SIDE * width + at), 2 * LINES * width, 2 * width),
            asked,
            (4 * (at // 2 * queries + query), LINE_BYTES, 4 * queries),
        )
    put_sums(logits, LOGITS)


@kernel
def _read(rows: Rows, start: int, nobodys: int, ids: Words) -> bool:
    """Fill in the rows of SIDE negatives from `start` on. Is there one that nobody may see?"""
    is_one_hidden = start + SIDE > len(rows)
    for line in range(min(SIDE, len(rows) - start)):
        ids[line] = rows[start + line]
        is_one_hidden |= rows[start + line] == nobodys
    return is_one_hidden


@kernel
def _hide(rows: Rows, start: int, nobodys: int, logits: Floats) -> None:
    """Of SIDE negatives from `start` on, those of `nobodys` row and those beyond the last one."""
    for line in range(SIDE):
        if start + line >= len(rows) or rows[start + line] == nobodys:
            put_floats(logits, line, 0, all_of(HIDDEN))


@kernel
def _weight(logits: Floats, line: int, ids: Words, asked: Words, query: int) -> Lanes:
    """Of one negative, for SIDE queries: 0 for those of its row."""
    weight: Lanes = unless_same(
        asked, asked.shape[0] - 1, query, ids[line], power_of_two(floats(logits, line, 0))
    )
    return weight


@kernel
def _gather(across: Halves, start: int, end: int, weights: Halves, found: Floats) -> None:
    """Add to `found` the negatives of blocks from `start` to `end`, weighted."""
    width, queries = across.shape[1], found.shape[1]
    for at in range(0, width, SIDE):
        for query in range(0, queries, SIDE):
            sums = (4 * (at * queries + query), 4 * LINES * queries, 4 * queries)
            get_sums(found, sums)
            for block in range(start, end):
                place = (block - start) * queries + query
                add_products(
                    across,
                    (2 * SIDE * (block * width + at), TILE_BYTES, LINE_BYTES),
                    weights,
                    (2 * SIDE * place, TILE_BYTES, LINE_BYTES),
                )
            put_sums(found, sums)


@at_once
def look(
    blocks: Halves,
    across: Halves,
    rows: Rows,
    nobodys: int,
    asked: Words,
    found: Floats,
) -> None:
    """Fill `found` [D + 1, B]: the sums of the negatives by their weights, then of the weights.

    `blocks` [N, SIDE, D] and `across` [N, D, SIDE] are the same negatives, in order those of
    `rows`. `asked` [D / 2 + 1, B]: queries in powers of two, pairs of neighbouring dimensions,
    then the row of each; they see all negatives but those of it and of row `nobodys`. D and B are
    multiples of SIDE; but for `rows`, each array begins where a line of the cache does.
    """
    width, queries = blocks.shape[2], asked.shape[1]
    logits = _lines(SIDE, np.empty((SIDE + 1) * SIDE, np.float32))
    weights = _lines(TOGETHER * queries, np.empty((TOGETHER * queries + 1) * SIDE, np.uint16))
    ids = np.zeros(SIDE, np.int32)
    # The bytes of a block, shared out over the pairs of lines of the one before.
    soon_bytes = -(-2 * SIDE * width // (LINES * (queries // SIDE) * LINE_BYTES)) * LINE_BYTES
    was = np.zeros(LINE_BYTES, np.uint8)
    get_layout(was)
    set_layout(LAYOUT)
    found[:] = ZERO
    for start in range(0, len(blocks), TOGETHER):
        end = min(len(blocks), start + TOGETHER)
        for block in range(start, end):
            is_one_hidden = _read(rows, block * SIDE, nobodys, ids)
            soon = 2 * (block + 1) * SIDE * width
            for query in range(0, queries, SIDE):
                _ask(blocks, block, asked, query, logits)
                if is_one_hidden:
                    _hide(rows, block * SIDE, nobodys, logits)
                place = (block - start) * queries + query
                total = floats(found, width, query)
                for pair in range(LINES):
                    for byte in range(soon, soon + soon_bytes, LINE_BYTES):
                        read_soon(blocks, byte)
                        read_soon(across, byte)
                    soon += soon_bytes
                    first = _weight(logits, 2 * pair, ids, asked, query)
                    second = _weight(logits, 2 * pair + 1, ids, asked, query)
                    total = total + first + second
                    put_pairs(weights, place + pair, first, second)
                put_floats(found, width, query, total)
        _gather(across, start, end, weights, found)
    set_layout(was)
