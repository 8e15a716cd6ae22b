"""What the next step needs, made while this one is done, where a core would have nothing to do.

Parts of a step on a CPU keep one core busy and no more. A second thread of the same rank would
take from the others what it gives: a product that is shared out waits for its slowest part. So the
thread has the lowest rank there is, and the kernel runs it where nobody else wants to.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, Self, TypeVar

from trainer.crew import share_with

GRACE_S = 0.01
"""What is not ready is waited for so long; then who asks makes it."""
REST_STEPS = 50
"""After that nothing is begun for so many steps: other programs want all cores."""

Made = TypeVar("Made")


class Ahead(Generic[Made]):
    """Makes one thing ahead, by number. Call `close`, or use it in a `with`, to end its thread."""

    def __init__(self, make: Callable[[int], Made]) -> None:
        """`make` is called in another thread. What it raises is raised by `take`."""
        self._make = make
        self._thread = ThreadPoolExecutor(1, "ahead", initializer=_step_back)
        self._begun: tuple[int, Future[Made]] | None = None
        self._rests_until_step = 0

    def begin(self, step: int) -> None:
        """Begin to make what `step` needs, if there is hope that it will be ready."""
        if step >= self._rests_until_step:
            self._begun = (step, self._thread.submit(self._make, step))

    def take(self, step: int) -> Made | None:
        """What was made for `step`; None if it is not ready in time or was not begun."""
        begun, self._begun = self._begun, None
        if begun is None or begun[0] != step:
            return None
        try:
            return begun[1].result(GRACE_S)
        except TimeoutError:
            begun[1].cancel()
            self._rests_until_step = step + REST_STEPS
            return None

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _step_back() -> None:
    """Run where no other thread would, and have no other thread work for this one.

    A system that forbids it takes the thread as it is.
    """
    share_with(1)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # 0: of this thread
