"""How a command ends: the exit codes, and the error that carries one."""

from enum import IntEnum


class Exit(IntEnum):
    """What a script can tell from `$?`."""

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
"""Of a job's status; every other status is UNFINISHED."""


class CommandError(Exception):
    """A command cannot do what it was asked to."""

    def __init__(
        self, title: str, *, detail: str = "", hint: str = "", code: Exit = Exit.ERROR
    ) -> None:
        """`title` says what failed, `detail` where, `hint` what to do next."""
        super().__init__(title)
        self.title, self.detail, self.hint, self.code = title, detail, hint, code


def outcome(status: str) -> Exit:
    """The exit code of a job in this status."""
    return OUTCOMES.get(status, Exit.UNFINISHED)
