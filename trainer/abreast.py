"""Two things at a time, each with half of the threads: on a CPU, what waits for nothing else.

An operation that all threads share ends when the slowest has done its part, and one thread of
Python asks for the next while the others wait. Two passes side by side wait for nobody, and one
asks while the other computes. A product may be summed otherwise by fewer threads, so how many there
are decides the last bits: every attempt of a job that has as many takes the same way.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

import torch

from trainer.crew import share_with

First = TypeVar("First")
Second = TypeVar("Second")


class Abreast:
    """Two threads beside the caller's. Call `close`, or use it in a `with`, to end them."""

    def __init__(self, threads: int) -> None:
        """`threads` >= 2 is what both have together."""
        asked = torch.get_num_threads()
        self._first, self._second = _with(threads // 2), _with(threads - threads // 2)
        # Each thread has a number of its own, but threads that are started later take the last.
        torch.set_num_threads(asked)

    def both(
        self, first: Callable[[], First], second: Callable[[], Second]
    ) -> tuple[First, Second]:
        """What the two return, once both have ended. Raises what `first` raised, or `second`.

        `first` always has the same threads, since how many there are decides the last bits.
        """
        one, other = self._first.submit(first), self._second.submit(second)
        other.exception()  # not before both are done
        return one.result(), other.result()

    def close(self) -> None:
        """End the threads."""
        self._first.shutdown()
        self._second.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _with(threads: int) -> ThreadPoolExecutor:
    """One thread, which is there already, and shares what it does with `threads` at most."""

    def take() -> None:
        torch.get_num_threads()  # the first call in a thread takes the number that was last set
        torch.set_num_threads(threads)
        share_with(threads)

    alone = ThreadPoolExecutor(1, "abreast")
    alone.submit(take).result()
    return alone
