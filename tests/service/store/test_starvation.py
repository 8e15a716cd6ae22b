"""Workers that claim as fast as they can, while jobs of one slot never stop coming.

Each round every worker claims until it gets nothing, and every job that runs comes one round nearer
to its end. A job that fits some worker must start within a number of rounds that depends on the
jobs before it and their lengths, not on how many come behind it.
"""

from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from service.store.records import Lease
from service.store.store import Store
from tests.support.service.redis import empty, fresh_id, submitted

POOLS = ("first", "second")
ROUNDS_OF_A_JOB = 3
WIDE = st.lists(st.integers(2, 8), min_size=1, max_size=3)
TOTALS = st.lists(st.integers(1, 8), min_size=1, max_size=3)


@dataclass
class Node:
    """A worker with its running jobs, each with its rounds left."""

    id: str
    total: int
    running: list[tuple[Lease, int]] = field(default_factory=list)

    @property
    def free(self) -> int:
        return self.total - sum(lease.slots for lease, _ in self.running)


@dataclass
class Hall:
    """All workers on one store; `started` are the jobs in the order of their start."""

    store: Store
    nodes: list[Node]
    pool: str
    """Pool of the wide jobs. Jobs of one slot come in this pool and in those after it."""
    started: list[str] = field(default_factory=list)

    def round(self) -> None:
        for pool in POOLS[POOLS.index(self.pool) :]:
            for _ in range(sum(node.total for node in self.nodes)):
                submitted(self.store, pool=pool)
        for node in self.nodes:
            self._claim_all(node)
            assert node.free >= 0, "more slots held than there are"
            self._work(node)

    def _claim_all(self, node: Node) -> None:
        while lease := self.store.queue.claim(
            pools=POOLS,
            worker_id=node.id,
            nonce=fresh_id("nonce"),
            free_slots=node.free,
            total_slots=node.total,
        ):
            self.started.append(lease.job_id)
            node.running.append((lease, 1 + len(self.started) % ROUNDS_OF_A_JOB))

    def _work(self, node: Node) -> None:
        for lease, left in node.running:
            if left == 1:
                self.store.queue.complete(lease, artifacts=(), artifacts_folder="a")
        node.running = [(lease, left - 1) for lease, left in node.running if left > 1]


@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.generate],  # to shrink a failure would take minutes
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(totals=TOTALS, sizes=WIDE, pool=st.sampled_from(POOLS))
def test_a_job_that_fits_starts_while_jobs_of_one_slot_keep_coming(
    redis_store: Store, totals: list[int], sizes: list[int], pool: str
) -> None:
    empty(redis_store)
    nodes = [Node(f"w{n}", total) for n, total in enumerate(totals)]
    hall = Hall(redis_store, nodes, pool)
    hall.round()
    wide = {submitted(redis_store, pool=pool, slots=slots): slots for slots in sizes}
    before = len(hall.started)
    fitting = [id for id, slots in wide.items() if slots <= max(totals)]
    # The jobs before it, then as long as the nodes need to run empty for each wide one.
    rounds = 2 * ROUNDS_OF_A_JOB * (2 + len(sizes))
    for _ in range(rounds):
        hall.round()
    assert set(fitting) <= set(hall.started), "starved"
    for slots in set(sizes):
        alike = [id for id in fitting if wide[id] == slots]
        assert [id for id in hall.started[before:] if id in alike] == alike, "overtaken"
    for id in wide.keys() - set(fitting):
        assert redis_store.jobs.get(id).status == "queued"
