"""Monitor of a running child: read its events, stop it when asked, return its exit code."""

import fcntl
import os
import selectors
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path

from trainer.schema.events import Event, Stepped
from worker.process.child_request import LOG_FILE, ChildRequest
from worker.process.event_pipe import STOP_LINE, EventLines
from worker.process.forkserver_client import Child, ForkserverClient
from worker.process.shutdown import WakePipe
from worker.process.stop_sequence import StopSequence, StopStage

PIPE_BYTES = 1_048_576
"""Capacity of the event pipe; the child of a stopped supervisor trains until it is full."""
COALESCE_S = 0.05
"""Pause after readings alone, so that more can be handled together."""
WAKE_UP_S = 1.0
"""Longest sleep of the loop."""


class DesiredState(Enum):
    """State that the supervisor wants a child to be in."""

    RUN = "run"
    STOP = "stop"
    """Save and exit, within the grace."""
    KILL = "kill"
    """Die at once."""


class Pipes:
    """Event pipe, control pipe and log of a child, with the supervisor's ends of the pipes."""

    def __init__(self, log: Path) -> None:
        self.events, self._child_events = os.pipe2(os.O_CLOEXEC)
        self._child_control, self.control = os.pipe2(os.O_CLOEXEC)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._log = os.open(log, flags, 0o600)
        os.set_blocking(self.events, False)
        fcntl.fcntl(self.events, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def fork_with(
        self, forkserver: ForkserverClient, request: ChildRequest, on_exit: Callable[[], None]
    ) -> Child:
        """Fork a child that gets the other ends. Raises ForkserverDied or ForkRefused."""
        try:
            return forkserver.fork(
                request.as_json(),
                events=self._child_events,
                control=self._child_control,
                log=self._log,
                on_exit=on_exit,
            )
        finally:
            for fd in (self._child_events, self._child_control, self._log):
                os.close(fd)

    def close(self) -> None:
        """Close our ends; a child that is still alive exits then."""
        os.close(self.events)
        os.close(self.control)


class ChildMonitor:
    """Supervise one child: forward its events, run the stop sequence, return its exit code.

    Blocks in select() and wakes at least once a second. The wake pipe is its own: it clears it.
    """

    def __init__(
        self, forkserver: ForkserverClient, wake_pipe: WakePipe, stop_sequence: StopSequence
    ) -> None:
        self._forkserver, self._wake_pipe = forkserver, wake_pipe
        self._stop_sequence = stop_sequence
        self._lines = EventLines()

    @property
    def invalid_lines(self) -> int:
        """Number of lines on the pipe that were no events."""
        return self._lines.invalid_lines

    def run(
        self,
        request: ChildRequest,
        *,
        desired: Callable[[], DesiredState],
        on_event: Callable[[Event, str], None],
    ) -> int:
        """Fork a child, supervise it, and return its exit code (negative: a signal).

        Raises ForkserverDied or ForkRefused if no child could be made.
        """
        pipes = Pipes(request.folder / LOG_FILE)
        try:
            child = pipes.fork_with(self._forkserver, request, self._wake_pipe.set)
            return self._until_ended(child, pipes, desired, on_event)
        finally:
            pipes.close()

    def _until_ended(
        self,
        child: Child,
        pipes: Pipes,
        desired: Callable[[], DesiredState],
        on_event: Callable[[Event, str], None],
    ) -> int:
        with selectors.DefaultSelector() as without_pipe, selectors.DefaultSelector() as all_:
            for selector in (without_pipe, all_):
                selector.register(self._wake_pipe, selectors.EVENT_READ)
            all_.register(pipes.events, selectors.EVENT_READ)
            while True:
                self._advance_stop(child, pipes, desired())
                all_.select(self._timeout_s())
                self._wake_pipe.clear()
                status = child.exit_status  # before the pipe is read for the last time
                open_, only_readings = self._read(pipes, on_event)
                if status is not None:
                    return status
                if not open_:
                    all_ = without_pipe  # noqa: PLW2901  # a closed pipe is always readable
                if only_readings:
                    without_pipe.select(min(COALESCE_S, self._timeout_s()))

    def _advance_stop(self, child: Child, pipes: Pipes, desired: DesiredState) -> None:
        """Run the stages of the stop sequence that are due."""
        now_s = time.monotonic()
        if desired is DesiredState.KILL:
            self._stop_sequence.kill_now()
        elif desired is DesiredState.STOP:
            self._stop_sequence.ask(now_s)
        for stage in self._stop_sequence.due(now_s):
            if stage is StopStage.ASK:
                with suppress(BrokenPipeError):
                    os.write(pipes.control, STOP_LINE)
            else:
                number = signal.SIGTERM if stage is StopStage.TERM else signal.SIGKILL
                self._forkserver.signal(child, number)

    def _timeout_s(self) -> float:
        next_s = self._stop_sequence.next_in_s(time.monotonic())
        return WAKE_UP_S if next_s is None else min(WAKE_UP_S, next_s)

    def _read(self, pipes: Pipes, on_event: Callable[[Event, str], None]) -> tuple[bool, bool]:
        """Read all that is on the pipe; return (the pipe is open, there were only readings)."""
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
