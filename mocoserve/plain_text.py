"""Text without characters that control a terminal or a page."""

import re

_UNSAFE = "\\u0000-\\u001f\\u007f-\\u009f\\u2028-\\u202e\\u2066-\\u2069"
"""Control characters, line separators, and marks that turn the direction of writing."""
PATTERN = f"^[^{_UNSAFE}]*$"
"""Regular expression of a whole text without them, which JSON Schema reads too."""
UNSAFE = re.compile(f"[{_UNSAFE}\\ud800-\\udfff]")
"""One of them, or an unpaired surrogate."""


def escaped(text: str, *, keep: str = "") -> str:
    """Return `text` with unsafe characters written out as in Python, but for those in `keep`."""
    return UNSAFE.sub(lambda match: match[0] if match[0] in keep else _written(match[0]), text)


def escaped_json(text: str) -> str:
    """Return a JSON text that means the same and holds no unsafe character but line breaks."""
    return UNSAFE.sub(
        lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text
    )


def _written(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
