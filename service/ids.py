"""Names of things: a prefix, then 26 characters that sort by time (a ULID in lower case)."""

import secrets
import time
from typing import Literal

Prefix = Literal["job", "ds", "probe", "wgt"]

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
TAIL = "[0-9a-hjkmnp-tv-z]{26}"
JOB_ID = f"^job_{TAIL}$"
PROBE_ID = f"^probe_{TAIL}$"
DATASET_ID = f"^ds_{TAIL}$"
WEIGHTS_ID = f"^wgt_{TAIL}$"
DATASET_NAME = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

_RANDOM_BITS = 80
_LETTERS = 26


def new_id(prefix: Prefix) -> str:
    """Return a new unique id: 48 bits of milliseconds, then 80 random bits.

    The clock only makes names sort well; that they differ rests on the random bits.
    """
    number = time.time_ns() // 1_000_000 << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    letters = (ALPHABET[number >> 5 * index & 31] for index in reversed(range(_LETTERS)))
    return f"{prefix}_{''.join(letters)}"


def new_request_id() -> str:
    """Return an id for a request whose sender gave none."""
    return f"req_{secrets.token_hex(12)}"
