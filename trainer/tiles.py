"""The matrix unit of a CPU: eight tiles of 16 lines of 64 bytes, which it multiplies in bfloat16.

Tiles 0 to 3 are sums in float32, [32, 32] as two by two; `add_products` uses the others. A tile of
a left factor holds [16, 32] numbers. A right factor [32, 16] lies in pairs, as [16, 16, 2]: two
lines of it are woven into one.

Only for functions of `trainer.compiling`, on a machine where `are_there`. Nothing checks that a
tile lies inside its array. A `Corner` is in bytes: where the first tile begins, from there to the
next, and from one line of a tile to its next.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.
"""

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types

from trainer.lanes import Generated, declared, instruction

# numba asks for arguments that the code does not need by name, and types none of its own.
# ruff: noqa: ANN401, ARG001

LINES, LINE_BYTES = 16, 64
SIDE = 2 * LINES
"""Numbers along each side of the sums, and along what two factors have in common."""

SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA = 158, 0x1023, 18
"""Linux, asm/prctl.h: a process asks once for the room that tiles take in a signal's frame."""

Corner = tuple[int, int, int]
CORNER: Any = types.UniTuple(types.int64, 3)  # type: ignore[no-untyped-call]  # numba
BYTE, LONG = ir.IntType(8), ir.IntType(64)
POINTER = ir.PointerType(BYTE)


@functools.cache
def are_there() -> bool:
    """Whether this machine has tiles and this process may use them."""
    able = torch.cpu.get_capabilities()
    if not (able.get("amx_tile") and able.get("amx_bf16") and able.get("architecture") == "x86_64"):
        return False
    call = ctypes.CDLL(None).syscall
    return int(call(SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA)) == 0


def _layout() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """All eight tiles at their full size, as the instruction reads it."""
    layout = np.zeros(64, np.uint8)
    layout[0] = 1
    layout[16:32:2] = LINE_BYTES
    layout[48:56] = LINES
    return layout


LAYOUT = _layout()


def _told(name: str) -> Callable[..., Any]:
    @instruction
    def told(_typing: object, layout: Any) -> Generated:
        def code(context: Any, builder: Any, made: Any, args: Any) -> Any:
            _call(builder, name, _data(context, builder, made, args, 0))
            return context.get_dummy_value()

        return types.void(layout), code

    return told


set_layout = _told("llvm.x86.ldtilecfg")
"""Lay the tiles out, all zero. A layout of zeros is none."""
get_layout = _told("llvm.x86.sttilecfg")
"""Write the layout down, so that another's can be restored: of the library, say."""


@instruction
def clear_sums(_typing: object) -> Generated:
    """Tiles 0 to 3 become zero."""

    def code(context: Any, builder: Any, _made: Any, _args: Any) -> Any:
        for number in range(4):
            _call(builder, "llvm.x86.tilezero", _number(number))
        return context.get_dummy_value()

    return types.void(), code


def _moved(name: str) -> Callable[..., Any]:
    @instruction
    def moved(_typing: object, array: Any, corner: Any) -> Generated:
        def code(context: Any, builder: Any, made: Any, args: Any) -> Any:
            array = _data(context, builder, made, args, 0)
            at, below, across = _parts(builder, args[1])
            left, line = builder.gep(array, [at]), ir.Constant(LONG, LINE_BYTES)
            lower = builder.gep(left, [below])
            places = (left, builder.gep(left, [line]), lower, builder.gep(lower, [line]))
            for number, place in enumerate(places):
                _call(builder, name, _number(number), place, across)
            return context.get_dummy_value()

        return types.void(array, CORNER), code

    return moved


get_sums = _moved("llvm.x86.tileloadd64")
"""Tiles 0 to 3 from an array of float32; its next tile is 16 lines below."""
put_sums = _moved("llvm.x86.tilestored64")
"""Tiles 0 to 3 into an array of float32; its next tile is 16 lines below."""


@instruction
def add_products(_typing: object, left: Any, at: Any, right: Any, right_at: Any) -> Generated:
    """Add to the sums two tiles of `left` by two of `right`, whose lines lie in pairs."""

    def code(context: Any, builder: Any, made: Any, args: Any) -> Any:
        def load(number: int, of: int, *, second: bool) -> Any:
            start, apart, across = _parts(builder, args[of + 1])
            place = builder.gep(_data(context, builder, made, args, of), [start])
            place = builder.gep(place, [apart]) if second else place
            _call(builder, "llvm.x86.tileloadd64", _number(number), place, across)

        def multiply(into: int, left: int, right: int) -> None:
            _call(builder, "llvm.x86.tdpbf16ps", *map(_number, (into, left, right)))

        # A product begins when its two factors are there, and the next tile is read meanwhile.
        load(4, 0, second=False)
        load(6, 2, second=False)
        multiply(0, 4, 6)
        load(7, 2, second=True)
        multiply(1, 4, 7)
        load(5, 0, second=True)
        multiply(2, 5, 6)
        multiply(3, 5, 7)
        return context.get_dummy_value()

    return types.void(left, CORNER, right, CORNER), code


@instruction
def read_soon(_typing: object, array: Any, at: Any) -> Generated:
    """Ask for the line of the cache at byte `at`; nothing waits for it."""

    def code(context: Any, builder: Any, made: Any, args: Any) -> Any:
        place = builder.gep(_data(context, builder, made, args, 0), [args[1]])
        hints = [ir.Constant(ir.IntType(32), hint) for hint in (0, 3, 1)]  # a read, for L1, of data
        _call(builder, "llvm.prefetch.p0", place, *hints)
        return context.get_dummy_value()

    return types.void(array, types.int64), code


def _number(tile: int) -> Any:
    return ir.Constant(BYTE, tile)


def _parts(builder: Any, corner: Any) -> tuple[Any, Any, Any]:
    at, apart, across = (builder.extract_value(corner, part) for part in range(3))
    return at, apart, across


def _data(context: Any, builder: Any, made: Any, args: Any, of: int) -> Any:
    """Where the bytes of an array begin, which is an argument."""
    array = context.make_array(made.args[of])(context, builder, args[of])
    return builder.bitcast(array.data, POINTER)


def _call(builder: Any, name: str, *args: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [each.type for each in args])
    builder.call(declared(builder, name, kind), args)
