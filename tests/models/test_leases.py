"""No interleaving of workers, users, reapers and crashes breaks what a lease promises.

The rules that are searched are those that `tests/service/store/test_model.py` compares with the
functions in Redis, call by call. Each rule that is taken out must be missed: a search that cannot
see a broken rule proves nothing. Jobs have one node here; seats of jobs of several nodes are
searched on the store itself, by `tests/service/store/test_gang_interleavings.py`.

What Redis promises with `appendfsync always` is that no acknowledged call is undone. The last
tests take that away. Then jobs, checkpoints, numbers of attempts and even a success can be lost,
which is why a server with another setting is refused (`service/store/durability.py`) and why each
job keeps a ledger on the disk. But even then no two workers can write about one job, because a
token is more than the number of an attempt: the random part never comes back.
"""

import sys

import pytest

from tests.models.lease_checks import INVARIANTS
from tests.models.lease_search import Found, search
from tests.models.lease_states import Bounds
from tests.support.service.lease_model import BREAKS, Rules

RULES = Rules(ttl_ticks=2, losses_max=2)
SEEN_BY = {
    "no token check": "one writer",
    "lease kept": "one place",
    "kept in line": "one place",
    "dropped on reap": "taken back",
    "never reaped": "taken back",
    "not renewed": "kept",
    "attempt not raised": "attempt",
    "step may fall": "checkpoint",
    "end forgotten": "repeated",
    "claim forgotten": "repeated",
    "key forgotten": "repeated",
    "tick not compared": "repeated",
    "success undone": "final",
    "cancel forgotten": "asked",
    "losses not bounded": "bounded",
    "failures not bounded": "bounded",
}
HARMLESS_ALONE = ("no state check", "token kept")
LOST_BY_A_ROLLBACK = {"accepted", "attempt", "checkpoint", "final"}


def report(name: str, found: Found) -> None:
    sys.stdout.write(f"{name}: {found.states:,} states, {found.transitions:,} transitions\n")


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        (
            "two jobs and three workers that complete or are lost, with cancels",
            Bounds(
                jobs=2,
                workers=3,
                max_failures=0,
                endings=("complete", "lose"),
                controls=("cancel",),
            ),
        ),
        (
            "two jobs and two workers with every call, one attempt each",
            Bounds(jobs=2, workers=2, attempts=1, max_failures=0),
        ),
        (
            "one job and three workers with every call, three attempts and two checkpoints",
            Bounds(jobs=1, workers=3, attempts=3, steps=(1, 2)),
        ),
    ],
)
def test_every_interleaving_keeps_every_promise(name: str, bounds: Bounds) -> None:
    found = search(RULES, bounds)
    report(name, found)
    assert found.broken == {}
    assert found.states > 5_000, "the search has become blind"


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        (
            "two jobs and two workers with every call, two attempts each",
            Bounds(jobs=2, workers=2, max_failures=0),
        ),
        (
            "two jobs and three workers that also fail and are tried again, with cancels",
            Bounds(endings=("complete", "retry", "lose"), controls=("cancel",)),
        ),
    ],
)
def test_many_more_interleavings_keep_every_promise(name: str, bounds: Bounds) -> None:
    found = search(RULES, bounds)
    report(name, found)
    assert found.broken == {}


@pytest.mark.parametrize(("taken_out", "invariant"), SEEN_BY.items())
def test_a_rule_that_is_taken_out_is_missed(taken_out: str, invariant: str) -> None:
    bounds = Bounds(jobs=2, workers=2, attempts=3, steps=(2, 1))
    found = search(Rules(ttl_ticks=2, losses_max=2, broken=frozenset([taken_out])), bounds)
    assert invariant in found.broken, found
    sys.stdout.write(f"{taken_out}: {' > '.join(found.broken[invariant])}\n")


def test_the_state_and_the_cleared_token_are_two_locks_on_one_door() -> None:
    bounds = Bounds(jobs=1, workers=2)
    for alone in HARMLESS_ALONE:
        found = search(Rules(ttl_ticks=2, losses_max=2, broken=frozenset([alone])), bounds)
        assert found.broken == {}, alone
    both = Rules(ttl_ticks=2, losses_max=2, broken=frozenset(HARMLESS_ALONE))
    assert search(both, bounds).broken


def test_every_rule_and_every_invariant_has_its_test() -> None:
    assert {*SEEN_BY, *HARMLESS_ALONE} == BREAKS.keys()
    assert {*SEEN_BY.values(), *LOST_BY_A_ROLLBACK} == INVARIANTS.keys()


def test_a_redis_that_loses_acknowledged_calls_breaks_promises_but_never_fencing() -> None:
    found = search(RULES, rolled_back(nonces=True), stop_at_first=False)
    report("one job and two workers, and Redis loses any suffix of its calls", found)
    assert found.broken.keys() == LOST_BY_A_ROLLBACK


def test_then_only_the_random_part_of_a_token_keeps_two_workers_apart() -> None:
    found = search(RULES, rolled_back(nonces=False), stop_at_first=False)
    assert found.broken.keys() == LOST_BY_A_ROLLBACK | {"one writer"}


def rolled_back(*, nonces: bool) -> Bounds:
    return Bounds(
        jobs=1,
        workers=2,
        max_failures=0,
        endings=("complete", "lose"),
        controls=("cancel",),
        rollback=True,
        nonces=nonces,
    )
