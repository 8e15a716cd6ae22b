"""What is written between the processes of a worker, and how it is read back."""

import os
import threading
from collections.abc import Iterator

from pydantic import ValidationError

from trainer.events import EVENT, Event

MESSAGE_BYTES = 65_536
"""Largest message to or from the forkserver."""
LINE_BYTES = 1_048_576
"""Longest line of events; a longer one is no event."""
STOP_LINE = b"stop\n"
"""What the supervisor writes on the control pipe."""
ORPHANED = 70
"""Exit code of a child whose supervisor went away."""


class EventLines:
    """Bytes of a pipe in, events out. A line that is no event is counted and left out."""

    def __init__(self) -> None:
        self.garbage_lines = 0
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[tuple[Event, str]]:
        """Each whole line of `data` as (event, its JSON); the rest waits for its end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._skipping:  # the tail of a line that was too long
                self._skipping = False
            else:
                yield from self._parsed(line)
        if len(self._rest) > LINE_BYTES:
            self.garbage_lines += not self._skipping
            self._skipping, self._rest = True, b""

    def _parsed(self, line: bytes) -> Iterator[tuple[Event, str]]:
        if not line.strip():
            return
        try:
            event = EVENT.validate_json(line)
            text = line.decode()
        except (ValidationError, UnicodeDecodeError):
            self.garbage_lines += 1
            return
        yield event, text


class Emitter:
    """Writes each event as one line; a supervisor that is gone ends the process."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Write all of it, however full the pipe is."""
        left = memoryview(event.model_dump_json().encode() + b"\n")
        with self._lock:
            while left:
                try:
                    left = left[os.write(self._fd, left) :]
                except BrokenPipeError:
                    os._exit(ORPHANED)


def listen(control: int) -> threading.Event:
    """An event that is set when the supervisor says stop. Its silence forever ends the process."""
    stop = threading.Event()

    def hear() -> None:
        heard = b""
        while data := os.read(control, 4096):
            heard = (heard + data)[-4096:]
            if STOP_LINE in heard:
                stop.set()
        os._exit(ORPHANED)

    threading.Thread(target=hear, name="control", daemon=True).start()
    return stop
