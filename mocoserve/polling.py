"""Polling of a record until it has ended."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from mocoserve.errors import Unavailable, Unreachable
from mocoserve.http import Http, backoff_s

PATIENCE_S = 60.0
"""Seconds without a server after which polling ends."""
_PAUSE_S_MAX = 1.0
Record = TypeVar("Record")


def polled(
    http: Http,
    read: Callable[[], Record],
    *,
    timeout_s: float | None = None,
    patience_s: float | None = None,
    answers_first: bool = False,
) -> Iterator[Record]:
    """Yield what `read` returns, with pauses up to a second, until `timeout_s` has passed.

    A server that is away for less than `patience_s` (default: PATIENCE_S) is waited for; with
    `answers_first` only after its first response.
    """
    patience_s = PATIENCE_S if patience_s is None else patience_s
    end_s = None if timeout_s is None else time.monotonic() + timeout_s
    looks, away_since_s = 0, None
    while True:
        try:
            record = read()
        except (Unreachable, Unavailable):
            away_since_s = away_since_s or time.monotonic()
            is_given_up = time.monotonic() - away_since_s >= patience_s
            if is_given_up or (answers_first and looks == 0):
                raise
        else:
            away_since_s = None
            yield record
        if end_s is not None and time.monotonic() >= end_s:
            return
        http.pause(backoff_s(looks, cap_s=_PAUSE_S_MAX))
        looks += 1
