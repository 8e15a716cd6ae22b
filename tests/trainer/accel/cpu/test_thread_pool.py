"""A pool against a plain loop."""

import copy
import threading
import time

import pytest

from trainer.accel.cpu.thread_pool import ThreadPool


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("parts", [0, 1, 3, 40])
def test_each_part_is_done_once(threads: int, parts: int) -> None:
    done: list[int] = []
    ThreadPool(threads).map_range(done.append, parts)
    assert sorted(done) == list(range(parts))


def test_all_threads_work_and_the_caller_is_one_of_them() -> None:
    names: set[str] = set()
    together = threading.Barrier(3, timeout=10)

    def part(_: int) -> None:
        names.add(threading.current_thread().name)
        together.wait()

    ThreadPool(3).map_range(part, 3)
    assert len(names) == 3
    assert threading.current_thread().name in names


def test_whoever_is_free_takes_the_next() -> None:
    """One slow part does not hold up the others."""
    by: dict[int, str] = {}

    def part(number: int) -> None:
        by[number] = threading.current_thread().name
        time.sleep(0.3 if number == 0 else 0.001)

    ThreadPool(2).map_range(part, 20)
    slow = by.pop(0)
    assert slow not in by.values()


@pytest.mark.parametrize("threads", [1, 3])
def test_what_a_part_raises_reaches_the_caller(threads: int) -> None:
    def part(number: int) -> None:
        if number == 2:
            raise ValueError("part 2")

    pool = ThreadPool(threads)
    with pytest.raises(ValueError, match="part 2"):
        pool.map_range(part, 4)
    done: list[int] = []
    pool.map_range(done.append, 4)
    assert sorted(done) == [0, 1, 2, 3]


def test_a_copy_is_the_same_crew() -> None:
    """Two towers of a network must not keep two sets of threads."""
    pool = ThreadPool(2)
    assert copy.deepcopy({"pool": pool})["pool"] is pool


def test_the_threads_of_a_crew_that_is_gone_end() -> None:
    pool = ThreadPool(3)
    pool.map_range(lambda _: None, 3)
    helpers = list(pool._helpers)
    assert len(helpers) == 2
    assert all(helper.is_alive() for helper in helpers)
    del pool
    for helper in helpers:
        helper.join(timeout=10)
    assert not any(helper.is_alive() for helper in helpers)


def test_two_callers_do_not_mix_up_their_parts() -> None:
    pool, found = ThreadPool(2), [0, 0]

    def many(which: int) -> None:
        for _ in range(200):
            done: list[int] = []
            pool.map_range(done.append, 5)
            found[which] += sorted(done) == list(range(5))

    callers = [threading.Thread(target=many, args=(which,)) for which in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=30)
    assert found == [200, 200]


def test_two_that_ask_for_the_first_time_at_once_have_the_same_helpers() -> None:
    before = threading.active_count()
    for _ in range(30):
        pool, there = ThreadPool(4), threading.Barrier(2)

        def ask(pool: ThreadPool = pool, there: threading.Barrier = there) -> None:
            there.wait(10)
            pool.map_range(lambda _: time.sleep(0.0001), 8)

        asking = [threading.Thread(target=ask) for _ in range(2)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert len(pool._helpers) == pool.threads - 1
        del pool, ask
    del asking
    assert threading.active_count() <= before + 3
