"""Threads that share out the parts of one operation: for compiled code, which holds no lock."""

import weakref
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from queue import SimpleQueue
from threading import Lock, Thread, current_thread
from typing import Self

Task = Callable[[], object]


class ThreadPool:
    """Pool of `threads` threads, the caller's included. A copy is the same pool.

    An executor of the standard library takes four times as long to hand a part over, which is as
    long as some parts take (60 against 15 microseconds).
    """

    def __init__(self, threads: int) -> None:
        """`threads` >= 1. None is started before there is work for it."""
        self.threads = threads
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._helpers: list[Thread] = []
        self._starting = Lock()

    def map_range(self, part: Callable[[int], object], parts: int) -> None:
        """Call `part` once with each number below `parts`. Returns when all are done.

        Neighbours are done by one thread, the first by the caller's: so torch shares out rows as
        well, and a core finds in its own cache what it wrote. Whoever is done helps the others.
        Raises what a part raised.
        """
        workers = max(1, min(self.threads, parts))
        edges = [parts * worker // workers for worker in range(workers + 1)]
        shares = [iter(range(*pair)) for pair in pairwise(edges)]  # next() of one is atomic
        ended: SimpleQueue[Exception | None] = SimpleQueue()

        def work(worker: int) -> None:
            try:
                for share in shares[worker:] + shares[:worker]:
                    for number in share:
                        part(number)
            except Exception as error:  # the caller gets it
                ended.put(error)
            else:
                ended.put(None)

        if workers > 1:
            self._start()
        for worker in range(1, workers):
            self._tasks.put(partial(work, worker))
        work(0)
        errors = [error for _ in range(workers) if (error := ended.get()) is not None]
        if errors:
            raise errors[0]

    def _start(self) -> None:
        with self._starting:  # two may ask for the first time at once
            if self._helpers:
                return
            for number in range(1, self.threads):
                name = f"pool-{number}"
                helper = Thread(target=_help, args=(self._tasks,), name=name, daemon=True)
                helper.start()
                self._helpers.append(helper)
            weakref.finalize(self, _dismiss, self._tasks, self._helpers)

    def __deepcopy__(self, _memo: object) -> Self:
        """Return itself: a copied module shares the threads of the original."""
        return self


def _help(tasks: SimpleQueue[Task | None]) -> None:
    while (task := tasks.get()) is not None:
        task()


def _dismiss(tasks: SimpleQueue[Task | None], helpers: list[Thread]) -> None:
    """Stop the threads and join them: no thread may wake while the process exits."""
    for _ in helpers:
        tasks.put(None)
    for helper in helpers:
        if helper is not current_thread():
            helper.join()
