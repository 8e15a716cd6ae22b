"""All jobs and all lines of a store, in plain Python: what the functions in Redis must equal."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.service.lease_model import Job, Rules, Token, Transition

RULES = Rules()


@dataclass
class Request:
    """Request that an idempotency key stands for."""

    job_id: str
    fingerprint: str


@dataclass
class Model:
    """Answers None where the store must raise. Time is counted in ticks."""

    jobs: dict[str, Job] = field(default_factory=dict)
    pools: dict[str, str] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)
    ready: dict[str, list[str]] = field(default_factory=lambda: {"a": [], "b": []})
    events: dict[str, list[str]] = field(default_factory=dict)
    claims: dict[str, str] = field(default_factory=dict)
    """Nonce -> the job that this claim got."""
    keys: dict[str, Request] = field(default_factory=dict)
    tick: int = 0

    def copy(self) -> "Model":
        """Return a copy that later changes do not reach."""
        return copy.deepcopy(self)

    def submit(
        self,
        id: str,
        pool: str,
        max_failures: int,
        *,
        slots: int,
        key: str | None,
        fingerprint: str,
    ) -> tuple[str, bool] | None:
        """(the id of the job, whether a known key answered); None for a conflict."""
        known = self.keys.get(key) if key else None
        if known is not None:
            same = known.fingerprint == fingerprint
            return (known.job_id, known.job_id != id) if same else None
        if key:
            self.keys[key] = Request(id, fingerprint)
        if id not in self.jobs:
            self.jobs[id] = Job(max_failures)
            self.pools[id], self.slots[id], self.events[id] = pool, slots, []
            self.ready[pool].append(id)
        return id, False

    def claim(
        self, pools: tuple[str, ...], nonce: str, *, free: int, total: int
    ) -> tuple[str, str] | None:
        """(job, token) of the next one, or of the one that this nonce got before.

        The one worker has `free` of its `total` slots. Jobs hold theirs until their lease is over.
        """
        if nonce in self.claims:
            id = self.claims[nonce]
            job = self.jobs.get(id)
            holds = job is not None and RULES.holds(job, (job.attempt, nonce))
            return (id, text_of(job.token)) if job and holds else None
        for place, pool in enumerate(pools):
            head = next((id for id in self.ready[pool] if self.slots[id] <= total), None)
            if head is None:
                continue
            if self.slots[head] <= free:
                self._do(head, RULES.claim(self.jobs[head], nonce))
                self.claims[nonce] = head
                return head, text_of(self.jobs[head].token)
            if self.slots[head] <= total - self.held(pools[: place + 1]):
                return None
        return None

    def held(self, pools: tuple[str, ...]) -> int:
        """Slots that jobs of these pools hold."""
        leased = [id for id, job in self.jobs.items() if job.left is not None]
        return sum(self.slots[id] for id in leased if self.pools[id] in pools)

    def renew(self, id: str, token: str) -> str | None:
        return self._said(id, lambda job: RULES.renew(job, token_of(token)))

    def checkpoint(self, id: str, token: str, step: int) -> str | None:
        return self._said(id, lambda job: RULES.checkpoint(job, token_of(token), step))

    def append(self, id: str, token: str, text: str) -> str | None:
        job = self.jobs.get(id)
        if job is None or not RULES.holds(job, token_of(token)):
            return None
        self.events[id].append(text)
        return job.desired or "run"

    def complete(self, id: str, token: str) -> str | None:
        return self._said(id, lambda job: RULES.complete(job, token_of(token)))

    def fail(self, id: str, token: str, *, retry: bool) -> str | None:
        return self._said(id, lambda job: RULES.fail(job, token_of(token), retry=retry))

    def release(self, id: str, token: str, *, ours: bool) -> str | None:
        return self._said(id, lambda job: RULES.release(job, token_of(token), ours=ours))

    def control(self, id: str, verb: str) -> str | None:
        return self._said(id, lambda job: RULES.control(job, verb))

    def end_tick(self) -> None:
        """The leases that are over are taken back, oldest first."""
        self.tick += 1
        for id in sorted(self.jobs, key=lambda id: (self.jobs[id].left or 0, id)):
            self._do(id, RULES.lapse(self.jobs[id]))

    def delete(self, id: str) -> bool:
        if self.jobs[id].status not in ("succeeded", "failed", "cancelled"):
            return False
        del self.jobs[id]
        self.keys = {key: one for key, one in self.keys.items() if one.job_id != id}
        return True

    def _said(self, id: str, call: Callable[[Job], Transition]) -> str | None:
        return self._do(id, call(self.jobs[id])) if id in self.jobs else None

    def _do(self, id: str, result: Transition) -> str | None:
        line = self.ready[self.pools[id]]
        if result.place != "stay" and id in line:
            line.remove(id)
        if result.place in ("front", "back"):
            line.insert(0 if result.place == "front" else len(line), id)
        self.jobs[id] = result.job
        return result.answer


def token_of(text: str) -> Token:
    """A token of the store as the rules have it."""
    attempt, _, nonce = text.partition(":")
    return int(attempt), nonce


def text_of(token: Token | None) -> str:
    """And back."""
    assert token is not None
    return f"{token[0]}:{token[1]}"
