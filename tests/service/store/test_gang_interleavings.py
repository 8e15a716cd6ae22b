"""Every interleaving of two workers and one job of two nodes, breadth first, on the store itself.

`tests/models` searches jobs of one node; `test_gang_model.py` draws long lives of many gangs. Here
all short lives of one gang are tried: claims whose reply is heard or lost, seats that are left, and
any call with any lease that ever was, in any order. The checks are those of `test_gang_model.py`.
"""

import copy
import sys
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Any

import pytest

from service.store.keys import KEYS
from service.store.store import Store
from tests.service.store.test_gang_model import Agent, Lives
from tests.support.service.gang_model import TTL, GangJob, rank_of
from tests.support.service.redis import contents, fresh_id, new_job, put_back

ATTEMPTS_MAX = 2
TICKS = (TTL + 1) // 2
"""Ticks of one step: a lease that is not renewed ends with the second of them."""


class OneGang(Lives):
    """Lives of one job, with two workers of one slot."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, seed=0)
        self.agents = [Agent(id, 1, ("a",)) for id in ("w1", "w2")]
        self.job = fresh_id()
        store.jobs.submit(new_job(pool="a", slots=1, nodes=2), job_id=self.job)
        self.model.jobs[self.job], self.pools[self.job] = GangJob(slots=1, nodes=2), "a"

    def moment(self) -> tuple[object, ...]:
        """Return all that `go_to` needs to come back."""
        return contents(self.store), copy.deepcopy((self.model, self.leases, self.agents))

    def go_to(self, moment: tuple[Any, ...]) -> None:
        put_back(self.store, moment[0])
        self.model, self.leases, self.agents = copy.deepcopy(moment[1])

    def calls(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Yield every call that can come now, and its name."""
        yield "ticks", self._ticks
        claims = self.model.jobs[self.job].attempt < ATTEMPTS_MAX
        for number, agent in enumerate(self.agents):
            if claims or agent.nonce:
                for heard in (True, False):
                    name = f"claim by {agent.id}{'' if heard else ', reply lost'}"
                    yield name, partial(self._claim_at, number, heard)
            if agent.seat:
                yield f"{agent.id} leaves its seat", partial(self._leave, number)
        for lease in self.leases:
            name = f"by rank {rank_of(lease)} of attempt {lease.attempt}"
            yield f"renewal {name}", partial(self._renew, lease)
            for verb in ("complete", "release"):
                yield f"{verb} {name}", partial(self._end, lease, verb)

    def key(self) -> Hashable:
        """Return what distinguishes this moment: deadlines as ticks from now, no random names."""
        job, tick = self.model.jobs[self.job], self.model.tick
        client = self.store.client
        tries, rest_until = client.run(
            lambda redis: redis.hmget(KEYS["job"] + self.job, "gang_tries", "rest_until")
        )
        forms_until = client.run(lambda redis: redis.zscore(KEYS["gangs"], self.job))
        return (
            *(job.status, job.attempt, job.ended[1:], tries),
            max(0, int(rest_until or 0) - tick),
            forms_until and forms_until - tick,
            tuple((name, over - tick) for name, over in job.seats.values()),
            tuple(over - tick for over in job.over.values()) if job.token else (),
            tuple((lease.attempt, rank_of(lease)) for lease in self.leases),
            tuple(self._memory(agent) for agent in self.agents),
        )

    def _memory(self, agent: Agent) -> Hashable:
        owner = self.store.client.run(lambda redis: redis.get(KEYS["nonce"] + agent.nonce))
        seats = self.model.jobs[self.job].seats
        leases = tuple((lease.attempt, rank_of(lease)) for lease in agent.leases)
        return bool(agent.nonce), bool(owner), agent.nonce in seats, bool(agent.seat), leases

    def _ticks(self) -> None:
        for _ in range(TICKS):
            self._tick()

    def _claim_at(self, number: int, heard: bool) -> None:
        self._claim(self.agents[number], heard=heard)

    def _leave(self, number: int) -> None:
        agent = self.agents[number]
        self.store.queue.leave_seat(agent.nonce)
        if self.model.jobs[self.job].seats:
            self.model.gave_back(agent.nonce)
        agent.seat = None


def search(lives: OneGang, *, depth: int) -> tuple[set[Hashable], int]:
    """Try every way of `depth` calls. Return the states and the number of calls."""
    states, calls_count = {lives.key()}, 0
    line: deque[tuple[tuple[object, ...], tuple[str, ...]]] = deque([(lives.moment(), ())])
    while line:
        moment, way = line.popleft()
        lives.go_to(moment)
        for name in [name for name, _ in lives.calls()]:
            lives.go_to(moment)
            dict(lives.calls())[name]()
            calls_count += 1
            try:
                lives.agree()
            except AssertionError as error:
                raise AssertionError(" > ".join((*way, name))) from error
            if (key := lives.key()) not in states:
                states.add(key)
                if len(way) + 1 < depth:
                    line.append((lives.moment(), (*way, name)))
    return states, calls_count


@pytest.mark.parametrize(
    ("depth", "states_min"),
    [
        pytest.param(3, 20),
        pytest.param(8, 400, marks=[pytest.mark.chaos, pytest.mark.timeout(3600)]),
    ],
)
def test_every_short_life_of_a_gang(redis_store: Store, depth: int, states_min: int) -> None:
    states, calls = search(OneGang(redis_store), depth=depth)
    sys.stdout.write(f"{len(states):,} states, {calls:,} calls\n")
    assert len(states) > states_min, "the search has become blind"
    statuses = {key[0] for key in states if isinstance(key, tuple)}
    assert statuses >= {"queued", "running", *(["succeeded"] if depth > 3 else [])}
