"""Sitting beside a running child: read its events, climb the stop ladder, hear how it ended."""

import fcntl
import os
import selectors
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path

from trainer.events import Event, Stepped
from worker.process.child_request import LOG_FILE, Orders
from worker.process.event_pipe import STOP_LINE, EventLines
from worker.process.forkserver_client import Child, Nursery, NurseryDied
from worker.process.shutdown import Wake
from worker.process.stop_sequence import Rung, StopLadder

PIPE_BYTES = 1_048_576
"""Of events that wait while the supervisor is stopped; the child trains on until it is full."""
NAP_S = 0.05
"""After readings only: let some more come before waking again."""
TURN_S = 1.0
"""Longest time between two looks at the world."""


class Wish(Enum):
    """What the supervisor wants of a child now."""

    RUN = "run"
    STOP = "stop"
    """Save and leave, within the grace."""
    KILL = "kill"
    """Die now."""


class Pipes:
    """The three open files of a child, and the supervisor's ends of two of them."""

    def __init__(self, log: Path) -> None:
        self.events, self._child_events = os.pipe2(os.O_CLOEXEC)
        self._child_control, self.control = os.pipe2(os.O_CLOEXEC)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._log = os.open(log, flags, 0o600)
        os.set_blocking(self.events, False)
        fcntl.fcntl(self.events, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def hand_to(self, nursery: Nursery, orders: Orders) -> Child:
        """Fork a child with them. Raises NurseryDied or ForkRefused."""
        try:
            return nursery.fork(
                orders.as_json(),
                events=self._child_events,
                control=self._child_control,
                log=self._log,
            )
        finally:
            for fd in (self._child_events, self._child_control, self._log):
                os.close(fd)

    def close(self) -> None:
        """Close our ends: a child that still lives then leaves by itself."""
        os.close(self.events)
        os.close(self.control)


class Attendant:
    """The main thread's loop while a child runs. It sleeps unless there is something to do."""

    def __init__(self, nursery: Nursery, wake: Wake, ladder: StopLadder) -> None:
        self._nursery, self._wake, self._ladder = nursery, wake, ladder
        self._lines = EventLines()

    @property
    def garbage_lines(self) -> int:
        """Lines on the pipe that were no events."""
        return self._lines.garbage_lines

    def watch(
        self,
        orders: Orders,
        *,
        wish: Callable[[], Wish],
        on_event: Callable[[Event, str], None],
    ) -> int:
        """Fork a child, stay until it has ended, and return its exit code (negative: a signal).

        Raises NurseryDied or ForkRefused if there is no child to begin with.
        """
        pipes = Pipes(orders.folder / LOG_FILE)
        try:
            child = pipes.hand_to(self._nursery, orders)
            try:
                return self._until_ended(child, pipes, wish, on_event)
            except NurseryDied:
                self._read(pipes, on_event)
                return -signal.SIGKILL  # the kernel ends a child with its parent
        finally:
            pipes.close()

    def _until_ended(
        self,
        child: Child,
        pipes: Pipes,
        wish: Callable[[], Wish],
        on_event: Callable[[Event, str], None],
    ) -> int:
        with selectors.DefaultSelector() as news, selectors.DefaultSelector() as all_:
            for selector in (news, all_):
                selector.register(self._wake, selectors.EVENT_READ)
                selector.register(self._nursery, selectors.EVENT_READ)
            all_.register(pipes.events, selectors.EVENT_READ)
            while True:
                self._climb(child, pipes, wish())
                all_.select(self._timeout_s())
                self._wake.clear()
                self._nursery.poll()
                status = self._nursery.exit_status(child)
                open_, only_readings = self._read(pipes, on_event)
                if status is not None:
                    self._nursery.forget(child)
                    return status
                if not open_:
                    all_ = news  # noqa: PLW2901  # the end of the pipe would wake us for ever
                if only_readings:
                    news.select(min(NAP_S, self._timeout_s()))

    def _climb(self, child: Child, pipes: Pipes, wish: Wish) -> None:
        """Do to the child what is due."""
        now_s = time.monotonic()
        if wish is Wish.KILL:
            self._ladder.kill_now()
        elif wish is Wish.STOP:
            self._ladder.ask(now_s)
        for rung in self._ladder.due(now_s):
            if rung is Rung.ASK:
                with suppress(BrokenPipeError):
                    os.write(pipes.control, STOP_LINE)
            else:
                number = signal.SIGTERM if rung is Rung.TERM else signal.SIGKILL
                self._nursery.signal(child, number)

    def _timeout_s(self) -> float:
        next_s = self._ladder.next_in_s(time.monotonic())
        return TURN_S if next_s is None else min(TURN_S, next_s)

    def _read(self, pipes: Pipes, on_event: Callable[[Event, str], None]) -> tuple[bool, bool]:
        """Take in what is on the pipe: (the pipe is open, there were only readings)."""
        readings = others = 0
        while True:
            try:
                data = os.read(pipes.events, PIPE_BYTES)
            except BlockingIOError:
                return True, readings > 0 and others == 0
            if not data:
                return False, False
            for event, text in self._lines.feed(data):
                is_reading = isinstance(event, Stepped)
                readings, others = readings + is_reading, others + (not is_reading)
                on_event(event, text)
