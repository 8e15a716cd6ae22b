"""Explicit SIMD in compiled code, where LLVM's loop vectorizer does not find it.

A loop over 32 channels inside a loop over pixels is vectorized, but each pixel pays for its start,
and sums go through memory. `Lanes` is a value of its own: a run of numbers that stays in the
core's registers. It is made of LLVM's own vectors, so each machine gets the instructions it has.

Only for functions of `trainer.accel.cpu.jit`. A run must lie inside its array: nothing checks it.
"""

import operator
from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

from trainer.accel.cpu.jit import SETTINGS

WIDTH = 32
"""Numbers in a run: a line of the cache in bfloat16, two of the widest registers in float32."""

FAST = tuple(sorted(SETTINGS["fastmath"]))
"""Fast-math flags of all compiled code: a multiply-add may skip the rounding in between."""
HALF_BITS, BELOW_HALF = 16, 0x7FFF
FLOATS = ir.VectorType(ir.FloatType(), WIDTH)
WORDS = ir.VectorType(ir.IntType(32), WIDTH)
HALVES = ir.VectorType(ir.IntType(16), WIDTH)

# numba asks for arguments that the code does not need by name, and types none of its own.
# ruff: noqa: ANN401, ARG001

Generated = tuple[Any, Callable[[Any, Any, Any, Any], Any]]
"""Signature and code generator, the pair that a numba intrinsic returns."""


class Lanes(types.Type):
    """WIDTH numbers of float32. They can be added, subtracted and multiplied."""

    def __init__(self) -> None:
        """Name the type; all instances are the same numba type."""
        super().__init__(name="Lanes")


LANES = Lanes()


def instruction(write: Callable[..., Generated]) -> Callable[..., Any]:
    """Return a function of compiled code, its first argument left out."""
    return cast(Callable[..., Any], intrinsic(write))


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: object, kind: object) -> None:
        super().__init__(manager, kind, FLOATS)  # type: ignore[no-untyped-call]  # numba


@instruction
def load_bf16(_typing: object, array: Any, line: Any, at: Any) -> Generated:
    """Return `array[line, at : at + WIDTH]`, bits of bfloat16, as float32."""

    def code(context: Any, builder: Any, made: Any, args: Any) -> Any:
        address = _address(context, builder, made, args, kind=HALVES)
        bits = builder.zext(builder.load(address, align=2), WORDS)
        return builder.bitcast(builder.shl(bits, _all(WORDS, HALF_BITS)), FLOATS)

    return LANES(array, types.intp, types.intp), code


@instruction
def store_bf16(_typing: object, array: Any, line: Any, at: Any, value: Any) -> Generated:
    """Store a value in `array[line, at : at + WIDTH]`: the nearest bfloat16, ties to even."""

    def code(context: Any, builder: Any, made: Any, args: Any) -> Any:
        address = _address(context, builder, made, args, kind=HALVES)
        bits, half = builder.bitcast(args[3], WORDS), _all(WORDS, HALF_BITS)
        odd = builder.and_(builder.lshr(bits, half), _all(WORDS, 1))
        rounded = builder.add(builder.add(bits, _all(WORDS, BELOW_HALF)), odd)
        builder.store(builder.trunc(builder.lshr(rounded, half), HALVES), address, align=2)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, LANES), code


@instruction
def floats(_typing: object, array: Any, line: Any, at: Any) -> Generated:
    """Return `array[line, at : at + WIDTH]` of float32."""

    def code(context: Any, builder: Any, made: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, made, args, kind=FLOATS), align=4)

    return LANES(array, types.intp, types.intp), code


@instruction
def put_floats(_typing: object, array: Any, line: Any, at: Any, value: Any) -> Generated:
    """Store a value in `array[line, at : at + WIDTH]` of float32."""

    def code(context: Any, builder: Any, made: Any, args: Any) -> Any:
        address = _address(context, builder, made, args, kind=FLOATS)
        builder.store(args[3], address, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, LANES), code


@instruction
def all_of(_typing: object, number: Any) -> Generated:
    """Return one float32 in all lanes."""

    def code(_context: Any, builder: Any, _made: Any, args: Any) -> Any:
        return _broadcast(builder, args[0])

    return LANES(types.float32), code


@instruction
def maximum(_typing: object, value: Any, floor: Any) -> Generated:
    """Return `floor` where `value` is below it; NaN stays."""

    def code(_context: Any, builder: Any, _made: Any, args: Any) -> Any:
        is_below = builder.fcmp_ordered("<", args[0], args[1])
        return builder.select(is_below, args[1], args[0])

    return LANES(LANES, LANES), code


@instruction
def relu_mask(_typing: object, reached: Any, floor: Any, value: Any) -> Generated:
    """Return `value` where `reached` is above `floor` or NaN, and 0 elsewhere."""

    def code(_context: Any, builder: Any, _made: Any, args: Any) -> Any:
        is_stopped = builder.fcmp_ordered("<=", args[0], args[1])
        return builder.select(is_stopped, _all(FLOATS, 0.0), args[2])

    return LANES(LANES, LANES, LANES), code


def _all(kind: Any, number: float) -> Any:
    return ir.Constant(kind, [number] * WIDTH)


def _broadcast(builder: Any, number: Any) -> Any:
    kind = ir.VectorType(number.type, WIDTH)
    nothing, first = ir.Constant(kind, ir.Undefined), ir.Constant(ir.IntType(32), 0)
    vector = builder.insert_element(nothing, number, first)
    return builder.shuffle_vector(vector, nothing, _all(WORDS, 0))


def _address(context: Any, builder: Any, made: Any, args: Any, *, kind: Any) -> Any:
    """Return the address of a run in the first argument, an array [lines, ...] without gaps."""
    array = context.make_array(made.args[0])(context, builder, args[0])
    across = builder.extract_value(array.shape, 1)
    start = builder.add(builder.mul(args[1], across), args[2])
    return builder.bitcast(builder.gep(array.data, [start]), kind.as_pointer())


def _operator(python: Callable[[Any, Any], Any], instruction: str) -> None:
    class Typed(AbstractTemplate):
        def generic(self, args: tuple[object, ...], _kws: object) -> Any:
            is_ours = args == (LANES, LANES)
            return signature(LANES, *args) if is_ours else None  # type: ignore[no-untyped-call]

    infer_global(python)(Typed)  # type: ignore[no-untyped-call]

    @lower_builtin(python, Lanes, Lanes)  # type: ignore[no-untyped-call, untyped-decorator]
    def lower(_context: object, builder: Any, _made: object, args: Any) -> Any:
        return getattr(builder, instruction)(*args, flags=FAST)


for _python, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
):
    _operator(_python, _name)
