"""Full scan of the jobs and datasets in the store, for the audit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from service.store.chunking import batches
from service.store.decoding import as_checkpoint, as_dataset, as_job
from service.store.keys import KEYS, line_of, shape_of
from service.store.records import STATUSES, CheckpointRecord, DatasetRecord, JobRecord, Kind
from service.store.redis_client import RedisClient

BATCH = 500


@dataclass(frozen=True, slots=True)
class JobIndexes:
    """A job with every index that lists it."""

    record: JobRecord
    statuses: tuple[str, ...]
    """Statuses whose index lists it; exactly its own is right."""
    listed: bool
    """In the index of all jobs of its kind."""
    ready: tuple[str, ...]
    """Lines of pools that list it, as `line_of` names them."""
    leased: bool
    checkpoints: tuple[CheckpointRecord, ...] = ()
    """Oldest first."""


@dataclass(frozen=True, slots=True)
class FullScan:
    """All jobs and datasets of the store. While jobs run, one may appear between two states."""

    jobs: dict[str, JobIndexes]
    datasets: dict[str, DatasetRecord]
    strays: tuple[tuple[str, str], ...] = ()
    """(set, job) where a set names a job without a record."""


def scan_all(client: RedisClient) -> FullScan:
    """Read everything. Raises StoreUnavailable."""
    sets = {name: _members(client, name) for name in _sets(client)}
    named = {id for ids in sets.values() for id in ids}
    jobs: dict[str, JobIndexes] = {}
    for batch in batches(sorted(named | set(_recorded(client))), BATCH):
        for id, (flat, checkpoints) in zip(batch, _records(client, batch), strict=True):
            if flat:
                jobs[id] = _indexes_of(id, flat, checkpoints, sets)
    strays = [(name, id) for name, ids in sets.items() for id in sorted(ids) if id not in jobs]
    return FullScan(jobs, _datasets(client), tuple(strays))


def _sets(client: RedisClient) -> list[str]:
    kinds = [f"{KEYS['jobs']}{kind}:{s}" for kind in get_args(Kind) for s in (*STATUSES, "all")]
    return [*kinds, *_lines(client), KEYS["leases"]]


def _lines(client: RedisClient) -> list[str]:
    lines: list[str] = []
    for pool in sorted(client.run(lambda client: client.smembers(KEYS["pools"]))):
        shapes = client.run(_set_of(KEYS["shapes"] + pool))
        wide = [shape_of(shape) for shape in sorted(shapes)]
        lines += [line_of(pool, slots=slots, nodes=nodes) for slots, nodes in [(1, 1), *wide]]
    return [KEYS["ready"] + line for line in lines]


def _members(client: RedisClient, name: str) -> frozenset[str]:
    return frozenset(client.run(lambda client: client.zrange(name, 0, -1)))


def _recorded(client: RedisClient) -> list[str]:
    keys = client.run(lambda client: list(client.scan_iter(KEYS["job"] + "*", count=1000)))
    return [key.removeprefix(KEYS["job"]) for key in keys]


def _records(client: RedisClient, ids: Sequence[str]) -> list[tuple[dict[str, str], list[str]]]:
    def ask(client: Any) -> object:  # noqa: ANN401  # the driver's type stays in `link`
        pipe = client.pipeline(transaction=False)
        for id in ids:
            pipe.hgetall(KEYS["job"] + id)
            pipe.zrange(KEYS["ckpts"] + id, 0, -1)
        return pipe.execute()

    answers = client.run(ask)
    return list(zip(answers[::2], answers[1::2], strict=True))


def _indexes_of(
    id: str, row: dict[str, str], checkpoints: list[str], sets: dict[str, frozenset[str]]
) -> JobIndexes:
    index = f"{KEYS['jobs']}{row['kind']}:"
    return JobIndexes(
        record=as_job([text for pair in row.items() for text in pair], 0),
        statuses=tuple(status for status in STATUSES if id in sets[index + status]),
        listed=id in sets[f"{index}all"],
        ready=tuple(
            name.removeprefix(KEYS["ready"])
            for name, ids in sets.items()
            if name.startswith(KEYS["ready"]) and id in ids
        ),
        leased=id in sets[KEYS["leases"]],
        checkpoints=tuple(as_checkpoint(text) for text in checkpoints),
    )


def _datasets(client: RedisClient) -> dict[str, DatasetRecord]:
    ids = client.run(lambda client: client.zrange(KEYS["datasets"], 0, -1))
    rows = {id: client.run(_hash_of(KEYS["ds"] + id)) for id in ids}
    return {
        id: as_dataset([text for pair in row.items() for text in pair])
        for id, row in rows.items()
        if row
    }


def _set_of(key: str) -> Callable[[Any], object]:
    return lambda client: client.smembers(key)


def _hash_of(key: str) -> Callable[[Any], object]:
    return lambda client: client.hgetall(key)
