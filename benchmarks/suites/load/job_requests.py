"""Durable posts, long lists and long queues."""

import asyncio
import json
import shutil
import subprocess
import time
from urllib.parse import unquote, urlsplit

import redis

from benchmarks.suites.load.api_server import Stage
from benchmarks.suites.load.http_clients import Tally, hammer, repeated
from service.ids import new_id
from service.store.keys import identity_key
from tests.support.service.api import ready_dataset

CLIENTS = 32
WARM = 300
BATCH = 500
SPEC = '{"dataset":"load"}'


def post(stage: Stage, *, count: int = 5000) -> dict[str, float]:
    """32 clients that post jobs, each fsynced before it is answered; and Redis's own rate."""
    ready_dataset(stage.store, "load")
    request = stage.request("POST", "/v1/jobs", SPEC.encode())
    asyncio.run(hammer(stage.port, CLIENTS, repeated(request, count=WARM)))
    used_s = stage.cpu_s()
    tally = asyncio.run(hammer(stage.port, CLIENTS, repeated(request, count=count)))
    used_s = stage.cpu_s() - used_s
    check(tally, {201: count})
    found = {
        "posts_per_s": tally.rate(),
        "post_p50_ms": tally.quantile_ms(0.5),
        "post_p99_ms": tally.quantile_ms(0.99),
        "api_cpu_ms_per_post": 1000.0 * used_s / count,
    }
    sets = sets_per_s(stage.redis.url)
    return found if sets is None else found | {"sets_per_s": sets, "ratio": tally.rate() / sets}


def sets_per_s(url: str, *, count: int = 30_000) -> float | None:
    """Return the SET rate of `redis-benchmark` with as many clients; None without that program."""
    program = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
    if program is None:
        return None
    parts = urlsplit(url)
    place = ["-s", parts.path] if parts.scheme == "unix" else ["-p", str(parts.port)]
    ran = subprocess.run(
        [
            *(program, *place, "-a", unquote(parts.password or "")),
            *("-t", "set", "-c", str(CLIENTS), "-n", str(count), "--csv"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    last = ran.stdout.strip().splitlines()[-1]
    return float(last.split(",")[1].strip('"'))


def listing(stage: Stage, *, few: int = 100, many: int = 100_000) -> dict[str, float]:
    """The first page among few jobs and among many."""
    dataset = ready_dataset(stage.store, "load").id
    request = stage.request("GET", "/v1/jobs?limit=20")
    found = dict[str, float]()
    held = 0
    for name, wanted in (("few", few), ("many", many)):
        began_s = time.perf_counter()
        insert(stage, wanted - held, dataset_id=dataset)
        held = wanted
        found[f"{name}_jobs"] = wanted
        found[f"{name}_insert_s"] = time.perf_counter() - began_s
        asyncio.run(hammer(stage.port, 1, repeated(request, count=100)))
        tally = asyncio.run(hammer(stage.port, 1, repeated(request, count=1000)))
        check(tally, {200: 1000})
        found[f"{name}_list_p50_ms"] = tally.quantile_ms(0.5)
        found[f"{name}_list_p95_ms"] = tally.quantile_ms(0.95)
    found["ratio"] = found["many_list_p95_ms"] / found["few_list_p95_ms"]
    return found


def queue(stage: Stage, *, count: int = 10_000) -> dict[str, float]:
    """Submit jobs over HTTP, then claim them as workers do."""
    ready_dataset(stage.store, "load")
    before = redis_mib(stage)
    request = stage.request("POST", "/v1/jobs", SPEC.encode())
    tally = asyncio.run(hammer(stage.port, CLIENTS, repeated(request, count=count)))
    check(tally, {201: count})
    after = redis_mib(stage)
    claims = Tally()
    claims.began_s = time.perf_counter()
    for _ in range(1000):
        began_s = time.perf_counter()
        lease = stage.store.queue.claim(pools=("train",), worker_id="load", nonce=new_id("job"))
        claims.waits_s.append(time.perf_counter() - began_s)
        assert lease is not None
    claims.ended_s = time.perf_counter()
    return {
        "jobs": count,
        "accepted_in_s": tally.ended_s - tally.began_s,
        "claim_p50_ms": claims.quantile_ms(0.5),
        "claim_p99_ms": claims.quantile_ms(0.99),
        "redis_mib": after,
        "redis_kib_per_job": 1024.0 * (after - before) / count,
    }


def insert(stage: Stage, count: int, *, dataset_id: str) -> None:
    """Queue jobs past the API, many in one write. As they would be, but without a ledger."""
    made = json.loads(
        stage.store.client.run(lambda client: json.dumps(client.config_get("appendfsync")))
    )
    assert made == {"appendfsync": "always"}
    expected = stage.store.client.expected
    keys = [] if expected is None else [identity_key(expected)]
    client = redis.Redis.from_url(stage.redis.url)
    resolved = json.dumps({"dataset": "load", "epochs": 200, "padding": "x" * 1000})
    for begin in range(0, count, BATCH):
        pipe = client.pipeline(transaction=False)
        for _ in range(min(BATCH, count - begin)):
            id = new_id("job")
            fields = {
                "id": id,
                "kind": "train",
                "pool": "stored",
                "name": "stored",
                "spec_json": SPEC,
                "resolved_json": resolved,
                "reasons_json": "{}",
                "inputs": "{}",
                "folder": f"jobs/{id}",
                "dataset_id": dataset_id,
                "max_failures": 3,
                "now": time.time(),
                "idem_key": "",
                "fingerprint": "",
            }
            flat = [part for pair in fields.items() for part in pair]
            pipe.fcall("moco_submit", len(keys), *keys, len(flat), *flat)
        assert all(reply[0] == b"OK" for reply in pipe.execute())
    client.close()


def redis_mib(stage: Stage) -> float:
    """Memory that Redis uses for its data."""
    return (
        float(stage.store.client.run(lambda client: client.info("memory")["used_memory"])) / 2**20
    )


def check(tally: Tally, wanted: dict[int, int]) -> None:
    """A figure of refused requests would be worth nothing."""
    if tally.statuses != wanted:
        raise RuntimeError(f"Answers were {tally.statuses}, not {wanted}.")
