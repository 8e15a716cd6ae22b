"""Two things side by side are what they are one after the other."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from trainer.abreast import Abreast
from trainer.crew import Crew

THREADS = 5
PATIENCE_S = 30.0


@pytest.fixture
def abreast() -> Iterator[Abreast]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        with Abreast(THREADS) as both:
            yield both
    finally:
        torch.set_num_threads(before)


def test_both_are_done_at_the_same_time_in_threads_of_their_own(abreast: Abreast) -> None:
    there = threading.Barrier(2, timeout=PATIENCE_S)

    def who(number: int) -> tuple[int, int]:
        there.wait()
        return number, threading.get_native_id()

    for _ in range(20):
        (one, first), (two, second) = abreast.both(lambda: who(1), lambda: who(2))
        assert (one, two) == (1, 2)
        assert len({first, second, threading.get_native_id()}) == 3


def test_each_has_half_of_the_threads_and_the_caller_keeps_its_own(abreast: Abreast) -> None:
    there = threading.Barrier(2, timeout=PATIENCE_S)
    crew = Crew(THREADS)

    def share() -> tuple[int, int]:
        there.wait()
        by: set[int] = set()
        crew.share(lambda _: by.add(threading.get_native_id()), 40)
        there.wait()
        return torch.get_num_threads(), len(by)

    found = abreast.both(share, share)
    assert [threads for threads, _ in found] == [THREADS // 2, THREADS - THREADS // 2]
    assert all(1 <= sharing <= threads for threads, sharing in found)
    assert torch.get_num_threads() == THREADS
    # Threads that are started later are no part of it.
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [THREADS]


def test_the_first_has_the_same_threads_whoever_comes_first(abreast: Abreast) -> None:
    """Of an odd number one half is larger, and another number of threads has other last bits."""

    def slowly() -> int:
        time.sleep(0.002)
        return torch.get_num_threads()

    for turn in range(40):
        pair = (slowly, torch.get_num_threads) if turn % 3 else (torch.get_num_threads, slowly)
        assert abreast.both(*pair) == (THREADS // 2, THREADS - THREADS // 2)


@pytest.mark.parametrize("failing", ["first", "second"])
def test_what_one_raises_is_raised_once_the_other_is_done(failing: str, abreast: Abreast) -> None:
    begun, done = threading.Event(), threading.Event()

    def fail() -> None:
        begun.wait(PATIENCE_S)
        raise ValueError("on purpose")

    def work() -> None:
        begun.set()
        threading.Event().wait(0.2)
        done.set()

    pair = (fail, work) if failing == "first" else (work, fail)
    with pytest.raises(ValueError, match="on purpose"):
        abreast.both(*pair)
    assert done.is_set()
    assert abreast.both(lambda: 1, lambda: 2) == (1, 2)


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    with Abreast(2) as both:
        both.both(lambda: None, lambda: None)
        assert threading.active_count() == before + 2
    assert threading.active_count() == before
