"""Random lives of jobs, in the store and in a model of plain Python: they must agree.

Runs on the packaged server, while most other tests run on the first one of the PATH. Every
lease that ever was is called upon again, so most calls come from zombies. Replies are lost: every
call may be sent twice at once, and claims, submissions and calls that ended a lease also long
after. Redis itself may lose all that it has, or all since some moment.

The model's rules are those that `tests/models` searches through.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from service.store.keys import KEYS
from service.store.records import TERMINAL, Lease
from service.store.store import Store
from service.store.store_errors import Fenced, IdempotencyConflict, WrongState
from tests.support.service.redis import (
    contents,
    dump,
    empty,
    fresh_id,
    new_job,
    opened_store,
    put_back,
    running_redis,
)
from tests.support.service.store_model import Model

BOOL, POOLS = st.booleans(), st.sampled_from("ab")
SLOTS = st.sampled_from([1, 1, 2, 4])
ROOM = st.sampled_from([(1, 1), (4, 4), (2, 4), (1, 4)])
"""Free slots of the worker that claims, and all of them."""


@pytest.fixture(scope="module")
def packaged_store() -> Iterator[Store]:
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, PATH=folder),
        running_redis(Path(folder)) as server,
        opened_store(server.url) as store,
    ):
        yield store


class Lives(RuleBasedStateMachine):
    store: ClassVar[Store]
    jobs = Bundle[str]("jobs")
    leases = Bundle[Lease]("leases")
    nonces = Bundle[str]("nonces")

    @initialize()
    def start(self) -> None:
        empty(self.store)
        self.model = Model()
        self.said: dict[str, int] = {}
        self.saved: tuple[Model, dict[str, int], list[tuple[str, bytes]]] | None = None

    @rule(
        target=jobs,
        pool=POOLS,
        slots=SLOTS,
        max_failures=st.integers(0, 2),
        keyed=BOOL,
        twice=BOOL,
    )
    def submit(self, pool: str, slots: int, max_failures: int, keyed: bool, twice: bool) -> str:
        id = fresh_id()
        key = id if keyed else None
        for _ in range(1 + twice):
            self._submit(id, pool, max_failures, slots=slots, key=key, fingerprint="f")
        return id

    @rule(key=jobs, pool=POOLS, same=BOOL)
    def submit_again(self, key: str, pool: str, same: bool) -> None:
        """The reply was lost, and the caller comes back with the key but a new id."""
        if key in self.model.jobs:
            fingerprint = "f" if same else "other"
            self._submit(fresh_id(), pool, 0, slots=1, key=key, fingerprint=fingerprint)

    @rule(target=leases, pools=st.permutations("ab"), room=ROOM, twice=BOOL)
    def claim(
        self, pools: list[str], room: tuple[int, int], twice: bool
    ) -> MultipleResults[Lease] | Lease:
        nonce = fresh_id("nonce")
        lease = self._claim(pools, nonce, room)
        if lease is not None and twice:
            assert self._claim(pools, nonce, room) == lease
        return multiple() if lease is None else lease

    @rule(target=nonces, pools=st.permutations("ab"), room=ROOM)
    def claim_and_lose_the_reply(self, pools: list[str], room: tuple[int, int]) -> str:
        nonce = fresh_id("nonce")
        self._claim(pools, nonce, room)
        return nonce

    @rule(target=leases, pools=st.permutations("ab"), room=ROOM, nonce=consumes(nonces))
    def claim_again(
        self, pools: list[str], room: tuple[int, int], nonce: str
    ) -> MultipleResults[Lease] | Lease:
        lease = self._claim(pools, nonce, room)
        return multiple() if lease is None else lease

    @rule(lease=leases, twice=BOOL)
    def renew(self, lease: Lease, twice: bool) -> None:
        expected = self.model.renew(lease.job_id, lease.token)
        self._same(expected, lambda: self.store.queue.renew(lease), twice)

    @rule(lease=leases, step=st.integers(0, 3), twice=BOOL)
    def checkpoint(self, lease: Lease, step: int, twice: bool) -> None:
        def tell() -> str:
            path = f"{lease.attempt}/{step}"
            self.store.queue.checkpoint(
                lease, step=step, path=path, manifest_sha256="", size_bytes=1
            )
            return "ok"

        self._same(self.model.checkpoint(lease.job_id, lease.token, step), tell, twice)

    @rule(lease=leases, twice=BOOL)
    def append(self, lease: Lease, twice: bool) -> None:
        text = json.dumps({"type": "x", "id": fresh_id("event")})
        first = self.said.get(lease.token, 0)

        def tell() -> str:
            reply = self.store.client.fcall("append", lease.job_id, lease.token, first, "", text)
            if reply[0] == "FENCED":
                raise Fenced(lease.job_id)
            return str(reply[1] or "run")

        expected = self.model.append(lease.job_id, lease.token, text)
        self._same(expected, tell, twice)
        self.said[lease.token] = first + (expected is not None)

    @rule(lease=leases, twice=BOOL)
    def complete(self, lease: Lease, twice: bool) -> None:
        """Complete a job. Calls that end a lease may come again later, if the reply was lost."""

        def tell() -> str:
            self.store.queue.complete(lease, artifacts=(), artifacts_folder="a")
            return "succeeded"

        self._same(self.model.complete(lease.job_id, lease.token), tell, twice)

    @rule(lease=leases, retry=BOOL, twice=BOOL)
    def fail(self, lease: Lease, retry: bool, twice: bool) -> None:
        expected = self.model.fail(lease.job_id, lease.token, retry=retry)
        self._same(
            expected,
            lambda: self.store.queue.fail(lease, code="c", message="m", hint="h", retry=retry),
            twice,
        )

    @rule(lease=leases, ours=BOOL, twice=BOOL)
    def release(self, lease: Lease, ours: bool, twice: bool) -> None:
        expected = self.model.release(lease.job_id, lease.token, ours=ours)
        code = "storage" if ours else "preempted"
        self._same(expected, lambda: self.store.queue.release(lease, code=code), twice)

    @rule(id=jobs, verb=st.sampled_from(["cancel", "pause", "resume"]))
    def control(self, id: str, verb: str) -> None:
        if id not in self.model.jobs:
            return
        expected, found = self.model.control(id, verb), None
        with contextlib.suppress(WrongState):
            found = getattr(self.store.jobs, verb)(id).status
        assert found == expected

    @rule(id=consumes(jobs), twice=BOOL)
    def delete(self, id: str, twice: bool) -> None:
        """Also again with the same operation id, as whoever settles an open deletion asks."""
        if id not in self.model.jobs:
            return
        op = fresh_id("op")
        if self.model.delete(id):
            for _ in range(1 + twice):
                self.store.jobs.delete(id, op=op)
        else:
            with pytest.raises(WrongState):
                self.store.jobs.delete(id, op=op)

    @rule(count=st.sampled_from([1, 7, 14, 15]), late=BOOL)
    def ticks(self, count: int, late: bool) -> None:
        for _ in range(count):
            seen = self.model.tick
            self.model.end_tick()
            assert self.store.queue.tick(seen) == self.model.tick
        if late:
            assert self.store.queue.tick(self.model.tick - 1) == self.model.tick

    @rule()
    def reach_the_disk(self) -> None:
        self.saved = (self.model.copy(), dict(self.said), contents(self.store))

    @rule()
    def lose_what_came_since(self) -> None:
        """Every lease that was given out since is a stranger's now, and stays one."""
        if self.saved is not None:
            model, said, held = self.saved
            self.model, self.said = model.copy(), dict(said)
            put_back(self.store, held)

    @rule(sure=st.integers(0, 3))
    def lose_everything(self, sure: int) -> None:
        if sure == 0:
            empty(self.store)
            self.model, self.said, self.saved = Model(), {}, None

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "model"):
            return
        held: dict[str, Any] = dump(self.store)
        records = {job.id: job for job in self.store.jobs.list(limit=1000).data}
        assert set(records) == set(self.model.jobs)
        for id, job in self.model.jobs.items():
            record = records[id]
            assert (record.status, record.attempt) == (job.status, job.attempt)
            assert (record.failures, record.losses) == (job.failures, job.losses)
            assert record.checkpoint_step == max(job.step, 0)
            texts = [event["e"] for _, event in held[KEYS["ev"] + id]]
            assert [text for text in texts if '"status"' not in text] == self.model.events[id]
        for pool, order in self.model.ready.items():
            assert in_line(held, pool) == order
            assert [records[id].queue_position for id in order] == list(range(1, len(order) + 1))
            slots = held.get(KEYS["held"] + "w", {}).get(pool, "0")
            assert int(slots) == self.model.held((pool,))
        leased = {id: job for id, job in self.model.jobs.items() if job.left is not None}
        leases = held.get(KEYS["leases"], [])
        ends = {id: self.model.tick + (job.left or 0) for id, job in leased.items()}
        assert dict(leases) == ends
        for id, job in self.model.jobs.items():
            places = [id in self.model.ready[self.model.pools[id]], id in leased]
            places.append(job.status in TERMINAL or job.status == "paused")
            assert places.count(True) == 1, "each job is in one place"

    def _submit(
        self,
        id: str,
        pool: str,
        max_failures: int,
        *,
        slots: int,
        key: str | None,
        fingerprint: str,
    ) -> None:
        expected = self.model.submit(
            id, pool, max_failures, slots=slots, key=key, fingerprint=fingerprint
        )
        new, found = new_job(pool=pool, max_failures=max_failures, slots=slots), None
        with contextlib.suppress(IdempotencyConflict):
            made = self.store.jobs.submit(
                new, job_id=id, idempotency_key=key, fingerprint=fingerprint
            )
            found = made.job_id, made.replayed
        assert found == expected

    def _claim(self, pools: list[str], nonce: str, room: tuple[int, int]) -> Lease | None:
        free, total = room
        expected = self.model.claim(tuple(pools), nonce, free=free, total=total)
        lease = self.store.queue.claim(
            pools=tuple(pools), worker_id="w", nonce=nonce, free_slots=free, total_slots=total
        )
        assert (lease and (lease.job_id, lease.token)) == expected
        assert lease is None or lease.slots == self.model.slots[lease.job_id]
        return lease

    def _same(self, expected: object, call: Callable[[], object], twice: bool) -> None:
        """The answer, also of a second call; what is refused changes nothing."""
        for _ in range(1 + twice):
            if expected is None:
                before = dump(self.store)
                with pytest.raises(Fenced):
                    call()
                assert dump(self.store) == before
            else:
                assert call() == expected


def in_line(held: dict[str, Any], pool: str) -> list[str]:
    """The jobs that wait in a pool, first to last, of all the lines of their shapes."""
    key = KEYS["ready"] + pool
    lines = (rows for name, rows in held.items() if name == key or name.startswith(key + "/"))
    return [id for id, _ in sorted(chain.from_iterable(lines), key=lambda row: row[1])]


def live(store: Store, *, lives: int, derandomize: bool) -> None:
    Lives.store = store
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=lives,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.generate],  # to shrink a failure would take minutes: run by hand
            derandomize=derandomize,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_store_lives_as_the_model_does(packaged_store: Store) -> None:
    live(packaged_store, lives=30, derandomize=True)


@pytest.mark.chaos
@pytest.mark.timeout(7200)
def test_the_store_lives_as_the_model_does_for_long(packaged_store: Store) -> None:
    """Other lives each time; `MOCO_LIVES` says how many."""
    live(packaged_store, lives=int(os.environ.get("MOCO_LIVES", "1000")), derandomize=False)
