"""Tasks in child processes, several at once."""

from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import cast


def run_all(tasks: Sequence[Callable[[], object]], *, at_once: int) -> None:
    """Run tasks, each in a copy of this process; raise RuntimeError after the first that fails.

    Forked, so that a task may be any function; this process must not have computed with tensors,
    whose threads a copy lacks.
    """
    waiting, running = list(tasks), list[BaseProcess]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(_started(waiting.pop(0)))
            wait([process.sentinel for process in running])
            ended = [process for process in running if not process.is_alive()]
            running = [process for process in running if process not in ended]
            if any(process.exitcode for process in ended):
                raise RuntimeError("a measurement failed; its error is printed above")
    finally:
        for process in running:
            process.terminate()
            process.join()


def _started(task: Callable[[], object]) -> BaseProcess:
    process = cast(BaseProcess, get_context("fork").Process(target=task))
    process.start()
    return process
