"""The rules of a lease in plain Python, one pure function for each thing that can happen to a job.

Two tests use the very same rules: `tests/models` searches every interleaving of them, and
`tests/service/store/test_model.py` compares them, call by call, with the functions in Redis. So
what the search proves of the rules holds for the functions as far as the comparison reaches.

`Rules.broken` takes one rule out, so that a test can show that its absence would be noticed.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Place = Literal["stay", "front", "back", "off"]
"""Change of the job's place in the queue: none, first, last, or removed."""
Token = tuple[int, int | str]
"""(attempt, nonce)."""
ACTIVE: Final = frozenset({"running", "stopping"})
ENDS: Final = frozenset({"succeeded", "failed", "cancelled"})
RESTING: Final = ENDS | {"paused"}
BREAKS: Final = {
    "no token check": "whoever has a lease of the job may write",
    "no state check": "harmless alone: the token is cleared when a lease ends",
    "token kept": "harmless alone: the status is compared, too",
    "lease kept": "a completed job stays among the leases",
    "kept in line": "a claimed job stays among the ready",
    "dropped on reap": "a lost job is queued by name only",
    "never reaped": "a lease has no end",
    "not renewed": "a renewal is answered but changes nothing",
    "attempt not raised": "two claims have the same number",
    "step may fall": "an older checkpoint takes the pointer back",
    "end forgotten": "a call that ended the lease is refused when it is repeated",
    "claim forgotten": "a claim whose reply was lost takes another job",
    "key forgotten": "a submission whose reply was lost makes another job",
    "tick not compared": "two reapers make time run twice as fast",
    "success undone": "a succeeded job may be resumed",
    "cancel forgotten": "a job to be cancelled goes back into the line",
    "losses not bounded": "a job that kills its workers is tried for ever",
    "failures not bounded": "the user's retries have no end",
}


class Ended(NamedTuple):
    """The call that ended a lease, remembered in case its reply was lost."""

    token: Token | None
    verb: str
    answer: str


class Job(NamedTuple):
    """State of one job."""

    max_failures: int = 0
    status: str = "queued"
    token: Token | None = None
    desired: str = ""
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    idle_losses: int = 0
    step: int = -1
    """Step of the checkpoint; -1 before the first."""
    left: int | None = None
    """Ticks until the lease is over; None if the job is not among the leases."""
    ended: Ended | None = None


class Transition(NamedTuple):
    """Answer of a call and the job after it. `answer` is None where the store refuses."""

    answer: str | None
    job: Job
    place: Place = "stay"


@dataclass(frozen=True)
class Rules:
    """All that can happen to a job."""

    ttl_ticks: int = 15
    losses_max: int = 20
    broken: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        assert self.broken <= BREAKS.keys()

    def holds(self, job: Job, token: Token | None) -> bool:
        """Return whether this token may write about the job."""
        right_state = job.status in ACTIVE or "no state check" in self.broken
        right_token = job.token == token or "no token check" in self.broken
        return right_state and right_token

    def claim(self, job: Job, nonce: int | str) -> Transition:
        """The job, first in its line, is given away; its token is (attempt, nonce)."""
        attempt = job.attempt + ("attempt not raised" not in self.broken)
        taken = job._replace(
            status="running",
            attempt=attempt,
            token=(attempt, nonce),
            desired="",
            left=self.ttl_ticks,
        )
        return Transition("ok", taken, "stay" if "kept in line" in self.broken else "off")

    def renew(self, job: Job, token: Token | None) -> Transition:
        """Its whole time again."""
        if not self.holds(job, token):
            return Transition(None, job)
        left = job.left if "not renewed" in self.broken else self.ttl_ticks
        return Transition(job.desired or "run", job._replace(left=left))

    def checkpoint(self, job: Job, token: Token | None, step: int) -> Transition:
        """The pointer moves on, never back."""
        if not self.holds(job, token):
            return Transition(None, job)
        idle_losses = 0 if step > job.step else job.idle_losses
        reached = step if "step may fall" in self.broken else max(job.step, step)
        return Transition("ok", job._replace(step=reached, idle_losses=idle_losses))

    def complete(self, job: Job, token: Token | None) -> Transition:
        """It succeeded."""
        return self._end(job, token, "complete") or self._over(
            job, "complete", self._move(job, "succeeded")
        )

    def fail(self, job: Job, token: Token | None, *, retry: bool) -> Transition:
        """It failed, and is tried again if its budget allows."""
        again = self._end(job, token, "fail")
        if again:
            return again
        counted = job._replace(failures=job.failures + 1)
        spent = counted.failures > job.max_failures and "failures not bounded" not in self.broken
        if job.desired == "cancel" or (retry and not spent):
            return self._over(job, "fail", self._rest(counted))
        return self._over(job, "fail", self._move(counted, "failed"))

    def release(self, job: Job, token: Token | None, *, ours: bool) -> Transition:
        """It is given back: for nothing, or as a loss of ours."""
        again = self._end(job, token, "release")
        if again:
            return again
        transition = self._lose(job) if ours and not job.desired else self._rest(job)
        return self._over(job, "release", transition)

    def lapse(self, job: Job) -> Transition:
        """One tick passes."""
        if job.left is None or "never reaped" in self.broken:
            return Transition("ok", job)
        if job.left > 1:
            return Transition("ok", job._replace(left=job.left - 1))
        transition = self._lose(job)
        place: Place = "stay" if "dropped on reap" in self.broken else transition.place
        return Transition("ok", transition.job._replace(ended=None), place)

    def control(self, job: Job, verb: str) -> Transition:
        """Cancel, pause or resume, as a user asks; the answer is the status."""
        match verb, job.status:
            case "cancel" | "pause", "running" | "stopping":
                if (verb, job.desired) != ("pause", "cancel"):
                    return Transition("stopping", job._replace(status="stopping", desired=verb))
            case ("cancel", "cancelled") | ("pause", "paused"):
                return Transition(job.status, job)
            case ("cancel", "queued" | "paused") | ("pause", "queued"):
                to = "cancelled" if verb == "cancel" else "paused"
                return Transition(to, job._replace(status=to), "off")
            case "resume", "paused" | "cancelled" | "failed" | "succeeded":
                if job.status != "succeeded" or "success undone" in self.broken:
                    fresh = job._replace(status="queued", failures=0, idle_losses=0)
                    return Transition("queued", fresh, "back")
        return Transition(None, job)

    def _end(self, job: Job, token: Token | None, verb: str) -> Transition | None:
        """The answer, if this call cannot end the lease: it did so before, or it never may."""
        ended = job.ended if "end forgotten" not in self.broken else None
        if ended is not None and (ended.token, ended.verb) == (token, verb):
            return Transition(ended.answer, job)
        return None if self.holds(job, token) else Transition(None, job)

    def _over(self, before: Job, verb: str, transition: Transition) -> Transition:
        ended = Ended(before.token, verb, transition.job.status)
        return Transition(
            transition.job.status, transition.job._replace(ended=ended), transition.place
        )

    def _move(self, job: Job, status: str) -> Transition:
        """The lease is over, and this is what the job is now."""
        left = job.left if "lease kept" in self.broken and status == "succeeded" else None
        token = job.token if "token kept" in self.broken else None
        return Transition(status, job._replace(status=status, token=token, desired="", left=left))

    def _rest(self, job: Job) -> Transition:
        if job.desired == "pause":
            return self._move(job, "paused")
        if job.desired == "cancel" and "cancel forgotten" not in self.broken:
            return self._move(job, "cancelled")
        return self._move(job, "queued")._replace(place="front")

    def _lose(self, job: Job) -> Transition:
        lost = job._replace(losses=job.losses + 1, idle_losses=job.idle_losses + 1)
        hopeless = not job.desired and lost.idle_losses >= self.losses_max
        if hopeless and "losses not bounded" not in self.broken:
            return self._move(lost, "failed")
        return self._rest(lost)
