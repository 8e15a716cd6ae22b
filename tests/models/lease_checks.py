"""Changes that may happen to one job, and the invariants that they break."""

from typing import Final

from tests.models.lease_states import Told
from tests.support.service.lease_model import ACTIVE, ENDS, Job, Rules, Transition

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
Checked = tuple[Transition, tuple[str, ...]]
"""An answer, and the invariants that it breaks."""


class JobChecks:
    """The rules for one job, asked and judged. Pure: what it answers may be kept."""

    def __init__(self, rules: Rules, verbs: tuple[str, ...]) -> None:
        """`verbs` are those of a worker."""
        self.rules, self.verbs = rules, verbs

    def check_call(self, job: Job, token: tuple[int, int], verb: str) -> Checked:
        """A worker calls with its token, whoever holds the job now."""
        transition = self._verb(job, token, verb)
        again = self._verb(transition.job, token, verb)
        wrong = [*_between(job, transition.job)]
        if transition.answer is not None and again != transition._replace(place="stay"):
            wrong.append("repeated")
        if transition.answer is None and transition.job != job:
            wrong.append("one writer")
        if verb == "renew" and transition.answer is not None:
            kept = transition.job
            for _ in range(self.rules.ttl_ticks - 1):
                kept = self.rules.lapse(kept).job
            if not self.rules.holds(kept, token):
                wrong.append("kept")
        return transition, tuple(wrong)

    def _verb(self, job: Job, token: tuple[int, int], verb: str) -> Transition:
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

    def check_lapse(self, job: Job) -> Checked:
        """A tick passes."""
        transition = self.rules.lapse(job)
        return transition, _between(job, transition.job)

    def check_control(self, job: Job, verb: str) -> Checked:
        """A user asks for something."""
        transition = self.rules.control(job, verb)
        undone = job.status == "succeeded" and transition.job.status != "succeeded"
        return transition, ("final",) if undone else ()

    def may_write(self, job: Job, token: tuple[int, int]) -> bool:
        """Return whether any call with this token changes the job."""
        return any(self._verb(job, token, verb).job != job for verb in self.verbs)

    def faults_of(self, job: Job, told: Told | None) -> tuple[str, ...]:
        """Invariants that do not hold of the job as it is."""
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
            was, transition = job.status, self.rules.lapse(job)
            job = transition.job
            if was in ACTIVE and job.status == "queued":
                placed = transition.place == "front"
        return placed and job.status not in ACTIVE


def _between(before: Job, after: Job) -> tuple[str, ...]:
    """Return the invariants broken by a change that no call of a worker and no tick may make."""
    wrong = []
    if before.status in ENDS and after.status != before.status:
        wrong.append("final")
    if after.step < before.step:
        wrong.append("checkpoint")
    if before.desired == "cancel" and after.status in ("queued", "running", "paused", "failed"):
        wrong.append("asked")
    return tuple(wrong)
