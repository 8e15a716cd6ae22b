"""Compilation for this machine: at import time, kept in memory only."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., object])


class Compiler(Protocol):
    """A decorator that leaves the signature as it is."""

    def __call__(self, function: Function, /) -> Function:
        """Return the function, compiled."""


# Sums may be regrouped, to run in all lanes of the core. No call holds the interpreter's lock.
SETTINGS: Any = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
}


def kernel(function: Function) -> Function:
    """Compile it with what calls it."""
    return cast(Function, njit(**SETTINGS)(function))


def compiled_now(*signatures: str) -> Compiler:
    """Compile it here, for these arrays only: others are refused, not compiled for again."""
    return cast(Compiler, njit(list(signatures), **SETTINGS))
