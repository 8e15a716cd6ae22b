"""The API dies, or Redis gives no answer, at any moment of a deletion; then Redis is emptied.

The oracle is what users were told: a job whose deletion was confirmed stays away, and every other
job that was accepted is there as it was, unless its deletion was asked for after its end and never
answered. Such a job may be gone or not, and from the next start on stays what it is.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.ledger.deletions import settle_unanswered
from service.ledger.journaled_store import JournaledStore
from service.ledger.reconcile import reconcile
from service.store.records import TERMINAL, JobRecord
from service.store.store import Store
from service.store.store_errors import NotFound, StoreUnavailable, WrongState
from tests.support.service.job_lives import World
from tests.support.service.redis import empty

WORK = ("claim", "complete", "fail", "release", "lose")
ASKED = ("submit", "cancel", "pause", "resume", "delete")
BROKEN = ("api.pre_delete", "api.post_delete", "store.called", "store.replied")
"""Points where a deletion is cut short, by a kill of the API or a Redis that does not answer."""
TROUBLE = ("restart", "answers again", "wipe")


class Killed(BaseException):
    """The API is gone."""


@dataclass
class Users:
    """Facts that the users of one world know."""

    world: World
    journal: JournaledStore
    jobs: list[str] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)

    def ask(self, verb: str, which: int) -> None:
        """A request that is answered."""
        if verb == "submit" or not self.jobs:
            self.jobs.append(self.world.submit(max_failures=1))
            self.kept.add(self.jobs[-1])
            return
        job_id = self.jobs[which % len(self.jobs)]
        with contextlib.suppress(WrongState, NotFound):
            if verb == "delete":
                self.journal.delete(job_id)
                assert not (self.world.data_dir / "jobs" / job_id).exists()
                self._move(job_id, self.gone)
            else:
                self.journal.control(job_id, verb)  # type: ignore[arg-type]
                if job_id in self.doubtful and verb == "resume":
                    self._move(job_id, self.kept)

    def cut_short(self, place: str, which: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """A deletion that is never answered, unless it is refused before that place."""
        job_id = self.jobs[which % len(self.jobs)]
        before = self.seen().get(job_id)
        with broken(place, monkeypatch):
            try:
                self.journal.delete(job_id)
            except (WrongState, NotFound):
                return
            except (Killed, StoreUnavailable) as error:
                if isinstance(error, Killed):
                    self.restart()
        if before is not None and before.status in TERMINAL:
            self._move(job_id, self.doubtful)

    def restart(self) -> None:
        """Another process of the API, which knows nothing of what the one before has asked."""
        self.journal = JournaledStore(self.world.store, self.world.data_dir)
        reconcile(self.world.store, self.world.data_dir, whole=False)
        self._settle_doubts()

    def answers_again(self) -> None:
        settle_unanswered(self.journal)
        assert not self.journal.unsettled
        self._settle_doubts()

    def wipe(self) -> None:
        """Everything that is known to be there must be there again, as it was."""
        before = self.seen()
        self.world.wipe()
        reconcile(self.world.store, self.world.data_dir)
        after = self.seen()
        assert self.kept <= after.keys(), "lost"
        assert not self.gone & after.keys(), "resurrected"
        for job_id in self.kept:
            if before[job_id].status in ("succeeded", "failed"):
                assert after[job_id].status == before[job_id].status
            assert after[job_id].artifacts == before[job_id].artifacts
        self._settle_doubts()

    def seen(self) -> dict[str, JobRecord]:
        return {one.id: one for one in self.world.store.jobs.list(limit=100).data}

    def _settle_doubts(self) -> None:
        there = self.seen().keys()
        for job_id in tuple(self.doubtful):
            if job_id not in self.journal.unsettled:
                self._move(job_id, self.kept if job_id in there else self.gone)

    def _move(self, job_id: str, to: set[str]) -> None:
        for known in (self.kept, self.doubtful, self.gone):
            known.discard(job_id)
        to.add(job_id)


@contextlib.contextmanager
def broken(place: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Die at a place of the API, or give no answer at the call to Redis that deletes."""

    def reached(name: str) -> None:
        if name == "api.pre_delete":
            monkeypatch.setattr("service.store.redis_client.failpoint", reached)
        if name == place:
            raise Killed if name.startswith("api.") else StoreUnavailable("no answer")

    monkeypatch.setattr("service.ledger.journaled_store.failpoint", reached)
    try:
        yield
    finally:
        monkeypatch.undo()


STEPS = st.lists(
    st.tuples(st.sampled_from((*WORK, *WORK, *ASKED, *BROKEN, *TROUBLE)), st.integers(0, 2)),
    max_size=30,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example([("cancel", 0), ("api.pre_delete", 0)])
@example([("cancel", 0), ("store.called", 0), ("answers again", 0)])
@example([("cancel", 0), ("store.replied", 0), ("answers again", 0)])
@given(STEPS)
def test_no_deletion_that_was_cut_short_loses_a_job_or_brings_one_back(
    tmp_path_factory: pytest.TempPathFactory,
    redis_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[tuple[str, int]],
) -> None:
    empty(redis_store)
    world = World(redis_store, tmp_path_factory.mktemp("crashes"))
    users = Users(world, world.journal)
    users.ask("submit", 0)
    for verb, which in steps:
        if verb in ASKED:
            users.ask(verb, which)
        elif verb in BROKEN:
            users.cut_short(verb, which, monkeypatch)
        elif verb in TROUBLE:
            {"restart": users.restart, "answers again": users.answers_again, "wipe": users.wipe}[
                verb
            ]()
        else:
            work(world, verb, which)
        there = users.seen().keys()
        assert users.kept <= there
        assert not users.gone & there
    users.wipe()
    users.restart()
    users.wipe()
    left = {path.name for path in (world.data_dir / "jobs").iterdir()}
    assert left == users.kept


def work(world: World, verb: str, which: int) -> None:
    """Act once as a worker, if it has a job."""
    running = sorted(world.leases)
    if verb == "claim":
        world.claim()
    elif running:
        job_id = running[which % len(running)]
        if verb == "fail":
            world.fail(job_id, retry=which == 0)
        else:
            getattr(world, verb)(job_id)
