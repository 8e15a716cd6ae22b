"""Every interleaving of a few workers, jobs, users, reapers and crashes, breadth first.

A worker has a memory: nothing, a claim whose reply it has not seen, or a lease. It may call with
its lease at any time and as often as it likes, also when that is long over (a zombie), and forget
it at any time (it crashed, or it was told that its lease is over). So a reply that is lost, a call
that is sent twice and a pause of any length are all among the ways through.

Workers are interchangeable, so their memories are sorted; the end of a lease is dropped from the
record when nobody remembers its token. Ticks are not bounded, only the attempts of a job are.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Final, Literal, NamedTuple

from tests.support.lease_model import ACTIVE, ENDS, RESTING, Job, Rules, Said

INVARIANTS: Final = {
    "one writer": "at most one worker can change a job (I1)",
    "one place": "a job is ready, leased or at rest, and nowhere twice (I2)",
    "accepted": "a job that was accepted is there (I2)",
    "final": "what has ended stays so unless a user resumes it; success stays for ever (I3)",
    "checkpoint": "the step of the checkpoint never falls (I4)",
    "attempt": "each claim of a job has a higher number than those before (I5)",
    "taken back": "without its owner a job is ready or at rest after the ticks of a lease (I6)",
    "kept": "who renews in time keeps the lease",
    "repeated": "a call that is sent twice does and answers the same",
    "asked": "a job that is being cancelled never goes back into the line",
    "bounded": "neither losses nor failures go on for ever",
}


class Memory(NamedTuple):
    """What a worker knows. A claim without a job is one that Redis has forgotten."""

    kind: Literal["idle", "claim", "lease"]
    job: int = -1
    token: tuple[int, int] = (0, 0)
    """(attempt, nonce)."""


class Told(NamedTuple):
    """What somebody outside of the store was told of a job: it must remain true."""

    attempt: int = 0
    step: int = -1
    succeeded: bool = False


class Saved(NamedTuple):
    """What is on the disk of Redis, when that is behind."""

    jobs: tuple[Job | None, ...]
    ready: tuple[int, ...]
    nonces: frozenset[int | str]


class State(NamedTuple):
    """One moment."""

    jobs: tuple[Job | None, ...]
    ready: tuple[int, ...]
    workers: tuple[Memory, ...]
    told: tuple[Told | None, ...]
    saved: Saved | Literal["not yet", "spent"] = "not yet"


@dataclass(frozen=True)
class Bounds:
    """How much of everything there is."""

    jobs: int = 2
    workers: int = 3
    attempts: int = 2
    steps: tuple[int, ...] = (1,)
    max_failures: int = 1
    controls: tuple[str, ...] = ("cancel", "pause", "resume")
    endings: tuple[str, ...] = ("complete", "fail", "retry", "release", "lose")
    rollback: bool = False
    """Whether Redis may once lose everything since some moment."""
    nonces: bool = True
    """Whether a token holds more than the number of the attempt."""


@dataclass
class Found:
    """What a search has seen."""

    states: int = 0
    transitions: int = 0
    broken: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Invariant -> the shortest way to where it does not hold."""


IDLE: Final = Memory("idle")


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
    """What can happen, and what is wrong with it. What happens to one job is worked out once."""

    def __init__(self, rules: Rules, bounds: Bounds) -> None:
        self.rules, self.bounds = rules, bounds
        self.wrong: list[str] = []
        """Invariants that the last change broke."""
        self.verbs = ("renew", *(f"step {step}" for step in bounds.steps), *bounds.endings)
        self._call = cache(self._check_call)
        self._lapse = cache(self._check_lapse)
        self._control = cache(self._check_control)
        self._writes = cache(self._may_write)
        self._faults = cache(self._faults_of)

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
        """What must hold in every state."""
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
        """What one worker may do."""
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
        return self._done(state, job, Said("ok", Job(self.bounds.max_failures)))

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
        said, told = self.rules.claim(record, nonce), state.told[job]
        self._must(told is None or said.job.attempt > told.attempt, "attempt")
        after = Memory("lease" if heard else "claim", job, (said.job.attempt, nonce))
        return self._done(state._replace(workers=_put(state.workers, at, after)), job, said)

    def _fresh_nonce(self, state: State) -> int:
        used = _nonces(state) if self.bounds.nonces and self.bounds.rollback else frozenset()
        return min(set(range(len(used) + 1)) - used)

    def _remember(self, state: State, at: int, memory: Memory) -> State:
        if memory == state.workers[at]:
            return state
        return self._tidy(state._replace(workers=_put(state.workers, at, memory)))

    # Redis.

    def _save(self, state: State) -> State:
        return state._replace(saved=Saved(state.jobs, state.ready, _nonces(state)))

    def _roll_back(self, state: State, saved: Saved) -> State:
        def known(memory: Memory) -> Memory:
            if memory.kind != "claim" or memory.token[1] in saved.nonces:
                return memory
            return Memory("claim", -1, (0, memory.token[1])) if self.bounds.nonces else IDLE

        workers = tuple(known(memory) for memory in state.workers)
        back = state._replace(jobs=saved.jobs, ready=saved.ready, workers=workers, saved="spent")
        return self._tidy(back)

    # One job.

    def _check_call(
        self, job: Job, token: tuple[int, int], verb: str
    ) -> tuple[Said, tuple[str, ...]]:
        said = self._verb(job, token, verb)
        again = self._verb(said.job, token, verb)
        wrong = [*_between(job, said.job)]
        if said.answer is not None and again != said._replace(place="stay"):
            wrong.append("repeated")
        if said.answer is None and said.job != job:
            wrong.append("one writer")
        if verb == "renew" and said.answer is not None:
            kept = said.job
            for _ in range(self.rules.ttl_ticks - 1):
                kept = self.rules.lapse(kept).job
            if not self.rules.holds(kept, token):
                wrong.append("kept")
        return said, tuple(wrong)

    def _verb(self, job: Job, token: tuple[int, int], verb: str) -> Said:
        match verb.split():
            case ["renew"]:
                return self.rules.renew(job, token)
            case ["step", step]:
                return self.rules.checkpoint(job, token, int(step))
            case ["complete"]:
                return self.rules.complete(job, token)
            case ["fail" | "retry"]:
                return self.rules.fail(job, token, retry=verb == "retry")
        return self.rules.release(job, token, ours=verb == "lose")

    def _check_lapse(self, job: Job) -> tuple[Said, tuple[str, ...]]:
        said = self.rules.lapse(job)
        return said, _between(job, said.job)

    def _check_control(self, job: Job, verb: str) -> tuple[Said, tuple[str, ...]]:
        said = self.rules.control(job, verb)
        undone = job.status == "succeeded" and said.job.status != "succeeded"
        return said, ("final",) if undone else ()

    def _may_write(self, job: Job, token: tuple[int, int]) -> bool:
        return any(self._verb(job, token, verb).job != job for verb in self.verbs)

    def _faults_of(self, job: Job, told: Told | None) -> tuple[str, ...]:
        wrong = []
        if not self._comes_back(job):
            wrong.append("taken back")
        if told and job.step < told.step:
            wrong.append("checkpoint")
        if told and told.succeeded and job.status != "succeeded":
            wrong.append("final")
        if job.idle_losses > self.rules.losses_max or job.failures > job.max_failures + 1:
            wrong.append("bounded")
        return tuple(wrong)

    def _comes_back(self, job: Job) -> bool:
        """Its owner is dead, and time passes."""
        placed = True
        for _ in range(self.rules.ttl_ticks if job.status in ACTIVE else 0):
            was, said = job.status, self.rules.lapse(job)
            job = said.job
            if was in ACTIVE and job.status == "queued":
                placed = said.place == "front"
        return placed and job.status not in ACTIVE

    # Putting states together.

    def _noted(self, checked: tuple[Said, tuple[str, ...]]) -> Said:
        said, wrong = checked
        self.wrong += wrong
        return said

    def _must(self, holds: bool, invariant: str) -> None:
        if not holds:
            self.wrong.append(invariant)

    def _done(self, state: State, job: int, said: Said) -> State:
        """What was said becomes so."""
        if said.job == state.jobs[job] and said.place == "stay":
            return state
        ready = state.ready
        if said.place != "stay":
            ready = tuple(other for other in ready if other != job)
        if said.place == "front":
            ready = (job, *ready)
        elif said.place == "back":
            ready = (*ready, job)
        record, before = said.job._replace(losses=0), state.told[job] or Told()
        told = Told(
            max(before.attempt, record.attempt),
            max(before.step, record.step),
            before.succeeded or record.status == "succeeded",
        )
        jobs, told_all = _put(state.jobs, job, record), _put(state.told, job, told)
        return self._tidy(state._replace(jobs=jobs, ready=ready, told=told_all))

    def _tidy(self, state: State) -> State:
        """The same for all states that can go on in the same ways."""
        jobs = state.jobs
        for job, record in enumerate(jobs):
            if record is not None and record.ended is not None:
                known = [one for one in state.workers if one.job == job]
                if all(one.token != record.ended.token for one in known):
                    jobs = _put(jobs, job, record._replace(ended=None))
        return state._replace(jobs=jobs, workers=tuple(sorted(state.workers)))


def _between(before: Job, after: Job) -> tuple[str, ...]:
    """What no call of a worker and no tick may do."""
    wrong = []
    if before.status in ENDS and after.status != before.status:
        wrong.append("final")
    if after.step < before.step:
        wrong.append("checkpoint")
    if before.desired == "cancel" and after.status in ("queued", "running", "paused", "failed"):
        wrong.append("asked")
    return tuple(wrong)


def _nonces(state: State) -> frozenset[int | str]:
    """All that somebody may still compare with."""
    found: set[int | str] = {memory.token[1] for memory in state.workers if memory.kind != "idle"}
    for record in filter(None, state.jobs):
        tokens = (record.token, record.ended.token if record.ended else None)
        found |= {token[1] for token in tokens if token is not None}
    if isinstance(state.saved, Saved):
        found |= state.saved.nonces
    return frozenset(found)


def _put(row: tuple[Any, ...], at: int, value: object) -> tuple[Any, ...]:
    return (*row[:at], value, *row[at + 1 :])
