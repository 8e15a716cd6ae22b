"""Recognize a damaged append-only file of the embedded server, and set it aside.

Every acknowledged write is synced, so a crash can tear only the last command or transaction. A
server that loads such a file drops the torn end, which was never acknowledged. Everything else is
damage: a file that the server refuses, and a cut that took whole transactions with it.
"""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FOLDER: Final = "appendonlydir"
_TAIL_BYTES: Final = 2**22
_EXEC: Final = b"*1\r\n$4\r\nEXEC\r\n"
_CUT: Final = re.compile(
    r"Truncating the AOF \S+ at offset (\d+)|Truncating the AOF at offset (\d+)"
)
_REFUSED: Final = (
    "Bad file format reading the append only file",
    "Unexpected end of file reading the append only file",
    "Internal error in RDB reading",
    "AOF MANIFEST FILE ERROR",
    "Unable to obtain the AOF file",
    "Wrong signature trying to load DB",
    "RDB CRC error",
)
"""Messages of Redis 7 and Valkey that mean a damaged file, not a full disk or memory."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of the newest file as it was before a server opened it."""

    start: int
    data: bytes


def read_tail(folder: Path) -> Tail:
    """Return the last megabytes of the newest file in the server's `folder`, if it can be read."""
    try:
        files = sorted((folder / _FOLDER).glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)
        with files[-1].open("rb") as file:
            start = max(0, file.seek(0, 2) - _TAIL_BYTES)
            file.seek(start)
            return Tail(start, file.read())
    except (OSError, IndexError):
        return Tail(0, b"")


def is_refused(log: str) -> bool:
    """Return whether the server's last words name a damaged file."""
    return any(words in log for words in _REFUSED)


def lost_writes(log: str, tail: Tail) -> bool:
    """Return whether a server that started has cut off more than a torn end."""
    cut = _CUT.search(log)
    if cut is None:
        return False
    offset = int(cut[1] or cut[2])
    return offset < tail.start or _EXEC in tail.data[offset - tail.start :]


def set_aside(folder: Path) -> Path:
    """Move the files of the server in `folder` away; return where they are now."""
    aside = folder / f"{_FOLDER}.damaged-{time.strftime('%Y%m%dT%H%M%S')}"
    (folder / _FOLDER).rename(aside)
    return aside
