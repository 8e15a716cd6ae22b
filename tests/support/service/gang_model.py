"""Jobs, seats and leases of gangs in plain Python, as an observer of the workers knows them.

Which job a claim gets is not predicted here (`store_model` does that for jobs of one node). What it
got is checked: a job starts with as many living seats as it has nodes, of as many workers, and from
then on every answer follows from who renewed when.
"""

from dataclasses import dataclass, field

from service.store.records import Lease, SeatTaken

TTL = 15
ACTIVE = frozenset({"running", "stopping"})
ENDS = frozenset({"succeeded", "failed", "cancelled"})


@dataclass
class GangJob:
    """State of one job."""

    slots: int
    nodes: int
    status: str = "queued"
    token: str = ""
    desired: str = ""
    attempt: int = 0
    ended: tuple[str, str, str] = ("", "", "")
    """(token, verb, answer) of the call that ended the last lease."""
    workers: dict[int, str] = field(default_factory=dict)
    """Node rank -> worker that was told so."""
    over: dict[int, int] = field(default_factory=dict)
    """Node rank -> tick at which it is lost."""
    seats: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Nonce -> (worker, tick at which the seat is lost), while it forms."""
    completions: int = 0


@dataclass
class Gangs:
    """All jobs. Answers None where the store must refuse."""

    jobs: dict[str, GangJob] = field(default_factory=dict)
    tick: int = 0

    def seated(self, seat: SeatTaken, worker: str, nonce: str) -> None:
        """A claim took this seat, or kept it."""
        job = self.jobs[seat.job_id]
        assert job.status == "queued"
        assert (seat.nodes, seat.slots) == (job.nodes, job.slots)
        job.seats[nonce] = worker, self.tick + TTL
        assert len({name for name, _ in job.seats.values()}) == len(job.seats) == seat.taken
        assert seat.taken < job.nodes

    def started(self, lease: Lease, worker: str, nonce: str) -> None:
        """A claim got this lease: the first to hear of a start, or another rank of it."""
        job = self.jobs[lease.job_id]
        if job.token != lease.token:
            self._begin(job, lease, nonce)
        rank = lease.seat.node_rank if lease.seat else 0
        assert job.status in ACTIVE
        assert job.workers.setdefault(rank, worker) == worker, "two workers have one rank"
        assert list(job.workers.values()).count(worker) == 1, "one worker has two ranks"

    def _begin(self, job: GangJob, lease: Lease, nonce: str) -> None:
        assert job.status == "queued", "two attempts at once"
        assert lease.attempt == job.attempt + 1
        assert len({*job.seats, nonce}) == job.nodes, "not whole"
        assert (lease.seat is None) == (job.nodes == 1)
        job.status, job.token, job.desired, job.attempt = "running", lease.token, "", lease.attempt
        job.workers, job.seats = {}, {}
        job.over = dict.fromkeys(range(job.nodes), self.tick + TTL)

    def gave_back(self, nonce: str) -> None:
        """A claim lost its seat, or left it."""
        for job in self.jobs.values():
            job.seats.pop(nonce, None)

    def renew(self, lease: Lease) -> str | None:
        job = self._held(lease)
        if job is None:
            return None
        job.over[rank_of(lease)] = self.tick + TTL
        return job.desired or "run"

    def complete(self, lease: Lease) -> str | None:
        return self._end(lease, "complete", "succeeded")

    def fail(self, lease: Lease) -> str | None:
        job = self.jobs[lease.job_id]
        return self._end(lease, "fail", "cancelled" if job.desired == "cancel" else "failed")

    def release(self, lease: Lease) -> str | None:
        return self._end(lease, "release", self._rests(self.jobs[lease.job_id]))

    def control(self, id: str, verb: str) -> None:
        """Cancel, pause or resume; the caller knows that the state allows it."""
        job = self.jobs[id]
        if job.status in ACTIVE:
            job.status, job.desired = "stopping", verb
        else:
            job.status = {"cancel": "cancelled", "pause": "paused", "resume": "queued"}[verb]
            job.seats = {}

    def end_tick(self) -> None:
        self.tick += 1
        for job in self.jobs.values():
            if job.status in ACTIVE and min(job.over.values()) <= self.tick:
                job.status, job.token, job.desired = self._rests(job), "", ""
                job.ended = ("", "", "")
            job.seats = {
                nonce: (worker, over)
                for nonce, (worker, over) in job.seats.items()
                if over > self.tick
            }

    def _held(self, lease: Lease) -> GangJob | None:
        job = self.jobs[lease.job_id]
        return job if job.status in ACTIVE and job.token == lease.token else None

    def _end(self, lease: Lease, verb: str, to: str) -> str | None:
        job = self.jobs[lease.job_id]
        may = rank_of(lease) == 0 or verb == "release"
        if may and job.ended[:2] == (lease.token, verb):
            return job.ended[2]
        if self._held(lease) is None or not may:
            return None
        job.status, job.token, job.desired = to, "", ""
        job.ended = (lease.token, verb, to)
        job.completions += to == "succeeded"
        return to

    @staticmethod
    def _rests(job: GangJob) -> str:
        return {"cancel": "cancelled", "pause": "paused"}.get(job.desired, "queued")


def rank_of(lease: Lease) -> int:
    """Node rank of the worker that has this lease."""
    return lease.seat.node_rank if lease.seat else 0
