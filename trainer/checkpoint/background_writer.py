"""One thread that finishes what the training thread has begun."""

import logging
import threading
from collections.abc import Callable
from types import TracebackType

log = logging.getLogger(__name__)


class BackgroundWriter:
    """Background thread that runs at most one write at a time.

    An exception is kept and raised by the next call. When the `with` block ends by an error, the
    write in flight is waited for; on SystemExit or KeyboardInterrupt it is not, and the end of the
    process interrupts it.
    """

    def __init__(self, name: str) -> None:
        """`name` is the thread's."""
        self._name = name
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> "BackgroundWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, Exception):
            self._join()
            if self._error is not None:
                log.error("What was written behind has failed: %s", self._error)

    @property
    def is_busy(self) -> bool:
        """True if work is under way."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, work: Callable[[], None]) -> None:
        """Begin, after the end of what is under way. Raises as `wait`."""
        self.wait()
        self._thread = threading.Thread(
            target=self._run, args=(work,), name=self._name, daemon=True
        )
        self._thread.start()

    def check(self) -> None:
        """Raise what the work has raised, once, without waiting for its end."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def wait(self) -> None:
        """Wait for the end of the work, then `check`."""
        self._join()
        self.check()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # raised again in the calling thread
            self._error = error
