"""Threads that share out the parts of one operation: for compiled code, which holds no lock."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count, takewhile
from typing import Self


class Crew:
    """So many threads, the caller's among them. Copies of it are the crew itself."""

    def __init__(self, threads: int) -> None:
        """`threads` >= 1. None is started before there is work for it."""
        self.threads = threads
        self._helpers: ThreadPoolExecutor | None = None

    def share(self, part: Callable[[int], object], parts: int) -> None:
        """Call `part` once with each number below `parts`; whoever is free takes the next.

        Returns when all are done. Raises what a part raised.
        """
        numbers = count()  # next() of it is atomic

        def work() -> None:
            for number in takewhile(lambda taken: taken < parts, numbers):
                part(number)

        helpers = min(self.threads, parts) - 1
        if helpers > 0 and self._helpers is None:
            self._helpers = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="crew")
        started = [self._helpers.submit(work) for _ in range(helpers)] if self._helpers else []
        work()
        for each in started:
            each.result()

    def __deepcopy__(self, _memo: object) -> Self:
        """What is copied shares the threads of what it was copied from."""
        return self
