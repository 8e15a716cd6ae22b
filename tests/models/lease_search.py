"""Every interleaving of a few workers, jobs, users, reapers and crashes, breadth first.

A worker has a memory: nothing, a claim whose reply it has not seen, or a lease. It may call with
its lease at any time and as often as it likes, also when that is long over (a zombie), and forget
it at any time (it crashed, or it was told that its lease is over). So a reply that is lost, a call
that is sent twice and a pause of any length are all among the ways through.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial

from tests.models.lease_checks import Checked, JobChecks
from tests.models.lease_states import (
    IDLE,
    Bounds,
    Memory,
    Saved,
    State,
    Told,
    nonces_of,
    put,
    tidied,
)
from tests.support.service.lease_model import RESTING, Job, Rules, Transition


@dataclass
class Found:
    """Result of a search."""

    states: int = 0
    transitions: int = 0
    broken: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Invariant -> the shortest way to where it does not hold."""


def search(rules: Rules, bounds: Bounds, *, stop_at_first: bool = True) -> Found:
    """All reachable states; with `stop_at_first`, until an invariant does not hold."""
    here = _Search(rules, bounds)
    first = State(
        jobs=(None,) * bounds.jobs,
        ready=(),
        workers=(IDLE,) * bounds.workers,
        told=(None,) * bounds.jobs,
    )
    came: dict[State, tuple[State, str] | None] = {first: None}
    found, line = Found(), deque([first])
    while line and not (stop_at_first and found.broken):
        state = line.popleft()
        for name, change in here.changes(state):
            here.wrong.clear()
            after = change()
            found.transitions += 1
            if after not in came:
                came[after] = (state, name)
                line.append(after)
                here.judge(after)
            for invariant in here.wrong:
                found.broken.setdefault(invariant, (*_way(came, state), name))
    found.states = len(came)
    return found


def _way(came: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    names: list[str] = []
    step = came[state]
    while step is not None:
        state, name = step
        names.append(name)
        step = came[state]
    return names[::-1]


class _Search:
    """All changes from a state, and the invariants they break. Results for one job are cached."""

    def __init__(self, rules: Rules, bounds: Bounds) -> None:
        self.rules, self.bounds = rules, bounds
        self.wrong: list[str] = []
        """Invariants that the last change broke."""
        self.verbs = ("renew", *(f"step {step}" for step in bounds.steps), *bounds.endings)
        checks = JobChecks(rules, self.verbs)
        self._call = cache(checks.check_call)
        self._lapse = cache(checks.check_lapse)
        self._control = cache(checks.check_control)
        self._writes = cache(checks.may_write)
        self._faults = cache(checks.faults_of)

    def changes(self, state: State) -> Iterator[tuple[str, Callable[[], State]]]:
        """Everything that can happen now, and its name."""
        if None in state.jobs:
            job = state.jobs.index(None)
            yield f"submit {job}", partial(self._submit, state, job)
        for job, record in enumerate(state.jobs):
            for verb in self.bounds.controls if record else ():
                yield f"{verb} {job}", partial(self._ask, state, job, verb)
        yield "tick", partial(self._tick, state)
        for at, memory in enumerate(state.workers):
            if at == 0 or memory != state.workers[at - 1]:  # else its twin did it all
                yield from self._acts(state, at, memory)
        if self.bounds.rollback and state.saved == "not yet":
            yield "redis falls behind its disk", partial(self._save, state)
        if isinstance(state.saved, Saved):
            yield "redis crashes", partial(self._roll_back, state, state.saved)

    def judge(self, state: State) -> None:
        """Check the invariants that hold in every state."""
        for job, (record, told) in enumerate(zip(state.jobs, state.told, strict=True)):
            self._must(record is not None or told is None, "accepted")
            if record is None:
                continue
            places = state.ready.count(job) + (record.left is not None)
            self._must(places + (record.status in RESTING) == 1, "one place")
            self.wrong += self._faults(record, told)
            writers = [one for one in state.workers if one.kind == "lease" and one.job == job]
            if len(writers) > 1:
                able = [one for one in writers if self._writes(record, one.token)]
                self._must(len(able) <= 1, "one writer")

    def _acts(
        self, state: State, at: int, memory: Memory
    ) -> Iterator[tuple[str, Callable[[], State]]]:
        """Yield the actions of one worker."""
        if memory.kind == "lease":
            for verb in self.verbs:
                name = f"{verb} {memory.job} as {memory.token}"
                yield name, partial(self._tell, state, memory, verb)
        else:
            for heard in (True, False):
                again = "" if memory.kind == "idle" else f" again as {memory.token}"
                name = f"claim{again}{'' if heard else ', reply lost'}"
                yield name, partial(self._claim, state, at, heard)
        if memory.kind != "idle":
            yield (
                f"{memory.kind} {memory.job} {memory.token} is forgotten",
                partial(self._remember, state, at, IDLE),
            )

    # Users and reapers.

    def _submit(self, state: State, job: int) -> State:
        self._must("key forgotten" not in self.rules.broken, "repeated")
        state = state._replace(ready=(*state.ready, job))
        return self._done(state, job, Transition("ok", Job(self.bounds.max_failures)))

    def _ask(self, state: State, job: int, verb: str) -> State:
        return self._done(state, job, self._noted(self._control(state.jobs[job], verb)))

    def _tick(self, state: State) -> State:
        leased = [job for job, record in enumerate(state.jobs) if record and record.left]
        # Another reaper saw the same tick and calls as well.
        self._must(not leased or "tick not compared" not in self.rules.broken, "repeated")
        for job in leased:
            state = self._done(state, job, self._noted(self._lapse(state.jobs[job])))
        return state

    # Workers.

    def _tell(self, state: State, memory: Memory, verb: str) -> State:
        record = state.jobs[memory.job]
        if record is None:
            return state
        return self._done(state, memory.job, self._noted(self._call(record, memory.token, verb)))

    def _claim(self, state: State, at: int, heard: bool) -> State:
        memory = state.workers[at]
        if memory.kind == "claim" and memory.job >= 0:  # the store knows this nonce
            got = state.jobs[memory.job]
            self._must("claim forgotten" not in self.rules.broken or not state.ready, "repeated")
            holds = got is not None and self.rules.holds(got, memory.token)
            after = memory._replace(kind="lease") if holds else IDLE
            return self._remember(state, at, after if heard else memory)
        record = state.jobs[state.ready[0]] if state.ready else None
        if record is None or record.attempt >= self.bounds.attempts:
            return state  # nothing there, or the end of this model
        job = state.ready[0]
        nonce = memory.token[1] if memory.kind == "claim" else self._fresh_nonce(state)
        transition, told = self.rules.claim(record, nonce), state.told[job]
        self._must(told is None or transition.job.attempt > told.attempt, "attempt")
        after = Memory("lease" if heard else "claim", job, (transition.job.attempt, nonce))
        return self._done(state._replace(workers=put(state.workers, at, after)), job, transition)

    def _fresh_nonce(self, state: State) -> int:
        used = nonces_of(state) if self.bounds.nonces and self.bounds.rollback else frozenset()
        return min(set(range(len(used) + 1)) - used)

    def _remember(self, state: State, at: int, memory: Memory) -> State:
        if memory == state.workers[at]:
            return state
        return tidied(state._replace(workers=put(state.workers, at, memory)))

    # Redis.

    def _save(self, state: State) -> State:
        return state._replace(saved=Saved(state.jobs, state.ready, nonces_of(state)))

    def _roll_back(self, state: State, saved: Saved) -> State:
        def known(memory: Memory) -> Memory:
            if memory.kind != "claim" or memory.token[1] in saved.nonces:
                return memory
            return Memory("claim", -1, (0, memory.token[1])) if self.bounds.nonces else IDLE

        workers = tuple(known(memory) for memory in state.workers)
        back = state._replace(jobs=saved.jobs, ready=saved.ready, workers=workers, saved="spent")
        return tidied(back)

    # Putting states together.

    def _noted(self, checked: Checked) -> Transition:
        transition, wrong = checked
        self.wrong += wrong
        return transition

    def _must(self, holds: bool, invariant: str) -> None:
        if not holds:
            self.wrong.append(invariant)

    def _done(self, state: State, job: int, transition: Transition) -> State:
        """Return the state after an answer."""
        if transition.job == state.jobs[job] and transition.place == "stay":
            return state
        ready = state.ready
        if transition.place != "stay":
            ready = tuple(other for other in ready if other != job)
        if transition.place == "front":
            ready = (job, *ready)
        elif transition.place == "back":
            ready = (*ready, job)
        record, before = transition.job._replace(losses=0), state.told[job] or Told()
        told = Told(
            max(before.attempt, record.attempt),
            max(before.step, record.step),
            before.succeeded or record.status == "succeeded",
        )
        jobs, told_all = put(state.jobs, job, record), put(state.told, job, told)
        return tidied(state._replace(jobs=jobs, ready=ready, told=told_all))
