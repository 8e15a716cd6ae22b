"""Polling against a scripted server: outages are waited for, up to a limit."""

from collections.abc import Iterator

import pytest

from mocoserve.errors import Unreachable
from mocoserve.http import Http
from mocoserve.polling import polled

AWAY = Unreachable("http://127.0.0.1:9", reason="refused")


def http_with(pauses: list[float]) -> Http:
    return Http("http://127.0.0.1:9", "key", pause=pauses.append)


class Script:
    """Server that plays its answers in turn."""

    def __init__(self, *answers: int | Unreachable) -> None:
        self._answers = iter(answers)

    def read(self) -> int:
        match next(self._answers):
            case Unreachable() as error:
                raise error
            case number:
                return number


def first(records: Iterator[int], count: int) -> list[int]:
    return [next(records) for _ in range(count)]


def test_an_outage_is_waited_for() -> None:
    pauses: list[float] = []
    records = polled(http_with(pauses), Script(1, AWAY, AWAY, 2).read)
    assert first(records, 2) == [1, 2]
    assert len(pauses) == 3


def test_a_long_outage_is_an_error() -> None:
    records = polled(http_with([]), Script(1, AWAY).read, patience_s=0.0)
    assert next(records) == 1
    with pytest.raises(Unreachable):
        next(records)


@pytest.mark.parametrize("answers_first", [False, True])
def test_a_server_that_never_answered_is_waited_for_only_if_wanted(answers_first: bool) -> None:
    records = polled(http_with([]), Script(AWAY, 1).read, answers_first=answers_first)
    if answers_first:
        with pytest.raises(Unreachable):
            next(records)
    else:
        assert next(records) == 1


def test_it_ends_after_the_timeout_with_one_record_at_least() -> None:
    assert list(polled(http_with([]), Script(1, 2).read, timeout_s=0.0)) == [1]
