"""Exit codes of commands, and the error that carries one."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes that a script sees in `$?`."""

    OK = 0
    ERROR = 1
    USAGE = 2
    AUTH = 3
    UNREACHABLE = 4
    FAILED = 100
    UNFINISHED = 101
    NOT_FOUND = 102
    CANCELLED = 103
    DETACHED = 130


OUTCOMES = {"succeeded": Exit.OK, "failed": Exit.FAILED, "cancelled": Exit.CANCELLED}
"""Exit code of each final status of a job; any other status is UNFINISHED."""


class CommandError(Exception):
    """A command failed for a known reason."""

    def __init__(
        self, title: str, *, detail: str = "", hint: str = "", code: Exit = Exit.ERROR
    ) -> None:
        """Take what failed (`title`), where (`detail`) and what to do next (`hint`)."""
        super().__init__(title)
        self.title, self.detail, self.hint, self.code = title, detail, hint, code


def outcome(status: str) -> Exit:
    """Return the exit code of a job in this status."""
    return OUTCOMES.get(status, Exit.UNFINISHED)
