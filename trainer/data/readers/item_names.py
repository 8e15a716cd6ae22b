"""Names of files inside a source. They are shown and compared, never used as paths."""

import re

LITTER = {"__macosx", "thumbs.db", "desktop.ini"}
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
DRIVE = re.compile(r"[A-Za-z]:")
DRIVE_ROOT = re.compile(r"[A-Za-z]:[/\\]")
SHOWN_CHARACTERS = 300


def decoded_name(raw: bytes) -> str:
    """Return a name as text; bytes that are not UTF-8 become escapes in hexadecimal digits."""
    return raw.decode("utf-8", "backslashreplace")


def shown_name(name: str) -> str:
    """Return a name that can be printed on one line, cut if it is very long."""
    escaped = CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", name)
    return escaped if len(escaped) <= SHOWN_CHARACTERS else escaped[:SHOWN_CHARACTERS] + "..."


def escape_fault(name: str) -> str | None:
    """Return how an entry's name points outside the archive, or None."""
    if name.startswith("/") or DRIVE_ROOT.match(name):
        return "has an absolute path"
    if ".." in name.split("/"):
        return "points out of its folder with '..'"
    return None


def name_fault(raw: bytes, name: str, *, bytes_max: int) -> str | None:
    """Return the reason to reject a file by its name, or None. `name` is `raw` as text."""
    if CONTROL.search(name):
        return "has a control character in its name"
    if "\\" in name:
        is_backslash = b"\\" in raw
        return "has a backslash in its name" if is_backslash else "has a name that is not UTF-8"
    if DRIVE.match(name):
        return "has a name that begins with a drive letter"
    if len(name.encode()) > bytes_max:
        return f"has a path longer than {bytes_max} bytes"
    return None


def normalized_name(name: str) -> str:
    """Return a name without empty parts and dots: `./a//b.png` is `a/b.png`."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def is_hidden(name: str) -> bool:
    """Return whether this is a hidden or system file, such as `.DS_Store`."""
    parts = name.lower().split("/")
    return any(part.startswith(".") or part in LITTER for part in parts)
