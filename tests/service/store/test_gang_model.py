"""Random lives of jobs of several nodes, with workers that fall silent, leave, and come back late.

Every lease that ever was is called upon again. Never do two gangs run one job, nothing is completed
twice, no worker holds more slots than it has; and when all workers are well again, every job that
fits them ends: none waits for another for ever, whatever had formed by then, in whichever pools.

The steps are drawn with weights, not by hypothesis: its rules rarely left a gang half formed.
"""

import contextlib
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.store.job_queue import Offer
from service.store.keys import KEYS
from service.store.records import Lease, SeatTaken
from service.store.store import Store
from service.store.store_errors import Fenced, WrongState
from tests.support.service.gang_model import ACTIVE, ENDS, TTL, GangJob, Gangs, rank_of
from tests.support.service.redis import dump, empty, fresh_id, new_job

STEPS = 120
OPEN_JOBS_MAX = 5
TICKS_TO_SETTLE = 3000
TICKS_PER_POLL = 5
WEIGHTS = {
    "submit": 4,
    "claim": 10,
    "claim_beside": 3,
    "gather": 1,
    "leave_a_seat": 1,
    "renew": 4,
    "all_but_one_renew": 1,
    "end": 3,
    "control": 2,
    "ticks": 3,
}


@dataclass
class Agent:
    """A worker: what it believes to hold."""

    id: str
    total: int
    pools: tuple[str, ...]
    nonce: str = ""
    """Nonce of the claim that waits for its answer or its gang."""
    seat: SeatTaken | None = None
    leases: list[Lease] = field(default_factory=list)

    @property
    def free(self) -> int:
        seat = self.seat.slots if self.seat else 0
        return self.total - seat - sum(lease.slots for lease in self.leases)


class Lives:
    """One life of a store, from `seed`."""

    def __init__(self, store: Store, seed: int) -> None:
        empty(store)
        self.store, self.draw = store, random.Random(seed)
        self.model = Gangs()
        self.leases: list[Lease] = []
        self.pools: dict[str, str] = {}
        rows = [("w1", 2, "ab"), ("w2", 2, "ba"), ("w3", 2, "ab"), ("w4", 1, "ba")]
        self.agents = [Agent(id, total, tuple(pools)) for id, total, pools in rows]

    def step(self) -> str:
        """Do one thing; return its name."""
        (name,) = self.draw.choices([*WEIGHTS], weights=[*WEIGHTS.values()])
        getattr(self, name)()
        self.agree()
        return name

    def submit(self) -> None:
        if sum(job.status not in ENDS for job in self.model.jobs.values()) == OPEN_JOBS_MAX:
            return
        id, pool = fresh_id(), self.draw.choice("ab")
        slots, nodes = self.draw.choice([1, 2]), self.draw.choice([1, 2, 2, 3])
        self.store.jobs.submit(new_job(pool=pool, slots=slots, nodes=nodes), job_id=id)
        self.model.jobs[id], self.pools[id] = GangJob(slots, nodes), pool

    def claim(self) -> None:
        """Claim, or ask again; the reply may be lost, and the same is asked again later."""
        self._claim(self.draw.choice(self.agents), heard=self.draw.random() < 0.8)

    def gather(self) -> None:
        """All claim, twice, also with the slots that their seats leave free."""
        for act in (self._claim, self._claim_beside, self._claim):
            for agent in self.agents:
                act(agent)

    def all_but_one_renew(self) -> None:
        silent = self.draw.choice(self.agents)
        for _ in range(2):
            for lease in [row for agent in self.agents for row in agent.leases]:
                if lease not in silent.leases:
                    self._renew(lease)
            for _ in range(TTL - 1):
                self._tick()

    def claim_beside(self) -> None:
        self._claim_beside(self.draw.choice(self.agents))

    def _claim_beside(self, agent: Agent) -> None:
        if agent.seat is None:
            return
        other = Agent(agent.id, agent.total, agent.pools, leases=agent.leases)
        other.leases = [*agent.leases]
        reply = self._ask(other, fresh_id("nonce"), free=agent.free)
        if isinstance(reply, Lease):
            agent.leases.append(reply)
        elif isinstance(reply, SeatTaken):
            self.store.queue.leave_seat(other.nonce)
            self.model.gave_back(other.nonce)

    def leave_a_seat(self) -> None:
        agent = self.draw.choice(self.agents)
        if agent.seat:
            self.store.queue.leave_seat(agent.nonce)
            if self.model.jobs[agent.seat.job_id].seats:
                self.model.gave_back(agent.nonce)
            self._claim(agent)

    def renew(self) -> None:
        """Renew any lease that ever was, mostly one that somebody believes to have."""
        believed = [row for agent in self.agents for row in agent.leases]
        rows = self.leases if self.draw.random() < 0.3 else believed
        if rows:
            self._renew(self.draw.choice(rows))

    def end(self) -> None:
        if self.leases:
            verb = self.draw.choice(["complete", "complete", "fail", "release"])
            self._end(self.draw.choice(self.leases[-6:]), verb)

    def control(self) -> None:
        if not self.model.jobs:
            return
        id = self.draw.choice([*self.model.jobs])
        verb = self.draw.choice(["cancel", "pause", "resume", "resume"])
        before = self.store.jobs.get(id)
        with contextlib.suppress(WrongState):
            after = getattr(self.store.jobs, verb)(id)
            if after.version != before.version:
                self.model.control(id, verb)

    def ticks(self) -> None:
        for _ in range(self.draw.choice([1, 1, 7, 7, 14, 15, 60])):
            self._tick()

    def agree(self) -> None:
        keys: dict[str, Any] = dump(self.store)
        for id, job in self.model.jobs.items():
            record = self.store.jobs.get(id)
            assert (record.status, record.attempt) == (job.status, job.attempt), id
            assert job.completions <= 1
            places = [f"{KEYS['seats']}{id}" in keys, id in dict(keys.get(KEYS["gangs"], []))]
            runs, forms = job.status in ACTIVE and job.nodes > 1, bool(job.seats)
            assert places == [runs or forms, forms], id
        self._one_forms_per_pool(keys)
        self._slots_are_there(keys)

    def _one_forms_per_pool(self, keys: dict[str, Any]) -> None:
        forming = [id for id, job in self.model.jobs.items() if job.seats]
        assert max(Counter(self.pools[id] for id in forming).values(), default=0) <= 1
        names = {f"{KEYS['forming']}{self.pools[id]}": id for id in forming}
        assert {key: id for key, id in keys.items() if key.startswith(KEYS["forming"])} == names

    def _slots_are_there(self, keys: dict[str, Any]) -> None:
        held: Counter[str] = Counter()
        for agent in self.agents:
            held[agent.id] += sum(map(int, keys.get(KEYS["held"] + agent.id, {}).values()))
        for job in self.model.jobs.values():
            for worker, _ in job.seats.values():
                held[worker] += job.slots
        assert all(held[agent.id] <= agent.total for agent in self.agents), held

    def settle(self) -> None:
        """All workers are well from now on: whatever fits them must end."""
        for _ in range(0, TICKS_TO_SETTLE, TICKS_PER_POLL):
            for agent in self.agents:
                self._claim(agent)
            for agent in self.agents:
                for lease in [*agent.leases]:
                    self._renew(lease)
            for lease in [row for agent in self.agents for row in agent.leases]:
                if rank_of(lease) == 0:
                    self._end(lease, "complete")
            if not any(self._can_run(id) for id in self.model.jobs):
                break
            for _ in range(TICKS_PER_POLL):
                self._tick()
        assert [id for id in self.model.jobs if self._can_run(id)] == [], "deadlock"

    def _can_run(self, id: str) -> bool:
        job = self.model.jobs[id]
        fitting = sum(agent.total >= job.slots for agent in self.agents)
        return job.status in ("queued", *ACTIVE) and fitting >= job.nodes

    def _claim(self, agent: Agent, *, heard: bool = True) -> None:
        if agent.free < 1 and not agent.nonce:
            return
        reply = self._ask(agent, agent.nonce or fresh_id("nonce"), free=agent.free)
        if not heard and not isinstance(reply, SeatTaken):
            return
        agent.seat = reply if isinstance(reply, SeatTaken) else None
        if isinstance(reply, Lease):
            agent.leases.append(reply)
        if agent.seat is None:
            agent.nonce = ""

    def _ask(self, agent: Agent, nonce: str, *, free: int) -> Lease | SeatTaken | None:
        agent.nonce = nonce
        offer = Offer(agent.id, free, agent.total, endpoint=f"{agent.id}:1")
        reply = self.store.queue.claim_seat(pools=agent.pools, nonce=nonce, offer=offer)
        if isinstance(reply, SeatTaken):
            self.model.seated(reply, agent.id, nonce)
        elif isinstance(reply, Lease):
            self.model.started(reply, agent.id, nonce)
            if reply not in self.leases:
                self.leases.append(reply)
        else:
            self.model.gave_back(nonce)
        return reply

    def _renew(self, lease: Lease) -> None:
        expected = self.model.renew(lease)
        try:
            assert self.store.queue.renew(lease) == expected
        except Fenced:
            assert expected is None
            self._forget(lease)

    def _end(self, lease: Lease, verb: str) -> None:
        expected, queue = getattr(self.model, verb)(lease), self.store.queue
        try:
            if verb == "complete":
                queue.complete(lease, artifacts=(), artifacts_folder="a")
                answer = "succeeded"
            elif verb == "fail":
                answer = queue.fail(lease, code="c", message="m", hint="h", retry=False)
            else:
                answer = queue.release(lease)
            assert answer == expected
            self._forget(lease)
        except Fenced:
            assert expected is None

    def _forget(self, lease: Lease) -> None:
        for agent in self.agents:
            agent.leases = [row for row in agent.leases if row != lease]

    def _tick(self) -> None:
        seen = self.model.tick
        self.model.end_tick()
        assert self.store.queue.tick(seen) == self.model.tick
        formed = dict(self._gangs())
        for id, job in self.model.jobs.items():
            if job.seats and id not in formed:
                job.seats = {}  # it took too long, and gave its seats back

    def _gangs(self) -> list[tuple[str, float]]:
        rows: list[tuple[str, float]] = self.store.client.run(
            lambda client: client.zrange(KEYS["gangs"], 0, -1, withscores=True)
        )
        return rows


@pytest.mark.parametrize("seed", range(8))
def test_gangs_live_and_none_waits_for_ever(redis_store: Store, seed: int) -> None:
    lives = Lives(redis_store, seed)
    for _ in range(STEPS):
        lives.step()
    gangs = [job for job in lives.model.jobs.values() if job.nodes > 1]
    assert sum(job.attempt for job in gangs) > 1, "too little happened"
    lives.settle()
