"""The life of a job in plain Python: what the functions in Redis are compared with."""

from dataclasses import dataclass, field

TTL_TICKS = 15
LOSSES_MAX = 20


@dataclass
class Job:
    """What the model knows of one job."""

    pool: str
    max_failures: int
    status: str = "queued"
    token: str = ""
    desired: str = ""
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    idle_losses: int = 0
    checkpoint_step: int = -1
    expires: int = 0
    events: list[str] = field(default_factory=list)


class Model:
    """All jobs and all pools. Answers None where the store must raise."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.ready: dict[str, list[str]] = {"a": [], "b": []}
        self.tick = 0

    def submit(self, id: str, pool: str, max_failures: int) -> None:
        self.jobs[id] = Job(pool, max_failures)
        self.ready[pool].append(id)

    def claim(self, pools: tuple[str, ...], nonce: str) -> tuple[str, str] | None:
        for pool in pools:
            if self.ready[pool]:
                id = self.ready[pool].pop(0)
                job = self.jobs[id]
                job.attempt += 1
                job.status, job.desired = "running", ""
                job.token = f"{job.attempt}:{nonce}"
                job.expires = self.tick + TTL_TICKS
                return id, job.token
        return None

    def holds(self, id: str, token: str) -> bool:
        job = self.jobs.get(id)
        return job is not None and job.token == token and job.status in ("running", "stopping")

    def renew(self, id: str, token: str) -> str | None:
        if not self.holds(id, token):
            return None
        self.jobs[id].expires = self.tick + TTL_TICKS
        return self.jobs[id].desired or "run"

    def checkpoint(self, id: str, token: str, step: int) -> str | None:
        if not self.holds(id, token):
            return None
        job = self.jobs[id]
        if step > job.checkpoint_step:
            job.idle_losses = 0
        job.checkpoint_step = max(job.checkpoint_step, step)
        return "ok"

    def append(self, id: str, token: str, text: str) -> str | None:
        if not self.holds(id, token):
            return None
        self.jobs[id].events.append(text)
        return self.jobs[id].desired or "run"

    def complete(self, id: str, token: str) -> str | None:
        if not self.holds(id, token):
            return None
        self._move(id, "succeeded")
        return "succeeded"

    def fail(self, id: str, token: str, *, retry: bool) -> str | None:
        if not self.holds(id, token):
            return None
        job = self.jobs[id]
        job.failures += 1
        if job.desired == "cancel" or (retry and job.failures <= job.max_failures):
            return self._rest(id)
        return self._move(id, "failed")

    def release(self, id: str, token: str, *, ours: bool) -> str | None:
        if not self.holds(id, token):
            return None
        return self._lose(id) if ours and not self.jobs[id].desired else self._rest(id)

    def end_tick(self) -> None:
        self.tick += 1
        over = [
            id
            for id, job in self.jobs.items()
            if job.status in ("running", "stopping") and job.expires <= self.tick
        ]
        for id in sorted(over, key=lambda id: (self.jobs[id].expires, id)):
            self._lose(id)

    def control(self, id: str, verb: str) -> str | None:
        job = self.jobs[id]
        match verb, job.status:
            case "cancel" | "pause", "running" | "stopping":
                if (verb, job.desired) == ("pause", "cancel"):
                    return None
                job.status, job.desired = "stopping", verb
            case ("cancel", "cancelled") | ("pause", "paused"):
                pass
            case ("cancel", "queued" | "paused") | ("pause", "queued"):
                self._move(id, "cancelled" if verb == "cancel" else "paused")
            case "resume", "paused" | "cancelled" | "failed":
                job.status, job.failures, job.idle_losses = "queued", 0, 0
                self.ready[job.pool].append(id)
            case _:
                return None
        return job.status

    def delete(self, id: str) -> bool:
        if self.jobs[id].status not in ("succeeded", "failed", "cancelled"):
            return False
        del self.jobs[id]
        return True

    def _move(self, id: str, status: str) -> str:
        job = self.jobs[id]
        if job.status == "queued":
            self.ready[job.pool].remove(id)
        job.status, job.token, job.desired = status, "", ""
        return status

    def _rest(self, id: str) -> str:
        job = self.jobs[id]
        if job.desired:
            return self._move(id, "cancelled" if job.desired == "cancel" else "paused")
        self._move(id, "queued")
        self.ready[job.pool].insert(0, id)
        return "queued"

    def _lose(self, id: str) -> str:
        job = self.jobs[id]
        job.losses += 1
        job.idle_losses += 1
        if not job.desired and job.idle_losses >= LOSSES_MAX:
            return self._move(id, "failed")
        return self._rest(id)
