"""Pipes between the processes of a worker: events as JSON lines, and the stop command."""

import os
import threading
from collections.abc import Iterator

from pydantic import ValidationError

from trainer.schema.events import EVENT, Event

MESSAGE_BYTES = 65_536
"""Largest message to or from the forkserver."""
LINE_BYTES = 1_048_576
"""Longest line of an event; a longer one is invalid."""
STOP_LINE = b"stop\n"
"""Stop command on the control pipe."""
ORPHANED = 70
"""Exit code of a child whose supervisor went away."""


class EventLines:
    """Parser of events from the bytes of a pipe. Invalid lines are counted and skipped."""

    def __init__(self) -> None:
        self.invalid_lines = 0
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[tuple[Event, str]]:
        """Yield each complete line as (event, its JSON); an incomplete one waits for its end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._skipping:  # the tail of a line that was too long
                self._skipping = False
            else:
                yield from self._parsed(line)
        if len(self._rest) > LINE_BYTES:
            self.invalid_lines += not self._skipping
            self._skipping, self._rest = True, b""

    def _parsed(self, line: bytes) -> Iterator[tuple[Event, str]]:
        if not line.strip():
            return
        try:
            event = EVENT.validate_json(line)
            text = line.decode()
        except (ValidationError, UnicodeDecodeError):
            self.invalid_lines += 1
            return
        yield event, text


class Emitter:
    """Writer of events, one a line; it ends the process when the supervisor is gone."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Write the whole event, blocking while the pipe is full."""
        left = memoryview(event.model_dump_json().encode() + b"\n")
        with self._lock:
            while left:
                try:
                    left = left[os.write(self._fd, left) :]
                except BrokenPipeError:
                    os._exit(ORPHANED)


def listen(control: int) -> threading.Event:
    """Return an event that is set on the stop command. The end of the pipe ends the process."""
    stop = threading.Event()

    def read_commands() -> None:
        recent = b""
        while data := os.read(control, 4096):
            recent = (recent + data)[-4096:]
            if STOP_LINE in recent:
                stop.set()
        os._exit(ORPHANED)

    threading.Thread(target=read_commands, name="control", daemon=True).start()
    return stop
