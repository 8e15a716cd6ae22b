"""Durable posts, long lists and long queues."""

import asyncio
import json
import shutil
import subprocess
import time
from urllib.parse import unquote, urlsplit

import redis

from benchmarks.suites.load.api_server import ApiServer
from benchmarks.suites.load.http_clients import RequestStats, repeat, send_concurrently
from service.ids import new_id
from service.store.keys import identity_key
from tests.support.service.api import ready_dataset

CLIENTS = 32
WARM_UP_REQUESTS = 300
JOBS_PER_PIPELINE = 500
SPEC = '{"dataset":"load"}'


def post_jobs(server: ApiServer, *, count: int = 5000) -> dict[str, float]:
    """Post jobs from 32 clients, each fsynced before its response; measure Redis's own rate too."""
    ready_dataset(server.store, "load")
    request = server.request("POST", "/v1/jobs", SPEC.encode())
    asyncio.run(send_concurrently(server.port, CLIENTS, repeat(request, count=WARM_UP_REQUESTS)))
    used_s = server.cpu_s()
    stats = asyncio.run(send_concurrently(server.port, CLIENTS, repeat(request, count=count)))
    used_s = server.cpu_s() - used_s
    check_statuses(stats, {201: count})
    figures = {
        "posts_per_s": stats.rate(),
        "post_p50_ms": stats.quantile_ms(0.5),
        "post_p99_ms": stats.quantile_ms(0.99),
        "api_cpu_ms_per_post": 1000.0 * used_s / count,
    }
    sets = sets_per_s(server.redis.url)
    return figures if sets is None else figures | {"sets_per_s": sets, "ratio": stats.rate() / sets}


def sets_per_s(url: str, *, count: int = 30_000) -> float | None:
    """Return the SET rate of `redis-benchmark` with as many clients; None without that program."""
    program = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
    if program is None:
        return None
    parts = urlsplit(url)
    address = ["-s", parts.path] if parts.scheme == "unix" else ["-p", str(parts.port)]
    result = subprocess.run(
        [
            *(program, *address, "-a", unquote(parts.password or "")),
            *("-t", "set", "-c", str(CLIENTS), "-n", str(count), "--csv"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    last = result.stdout.strip().splitlines()[-1]
    return float(last.split(",")[1].strip('"'))


def list_jobs(server: ApiServer, *, few: int = 100, many: int = 100_000) -> dict[str, float]:
    """Measure the first page of the list of jobs, with few jobs and with many."""
    dataset = ready_dataset(server.store, "load").id
    request = server.request("GET", "/v1/jobs?limit=20")
    figures = dict[str, float]()
    stored = 0
    for name, expected in (("few", few), ("many", many)):
        began_s = time.perf_counter()
        insert_jobs(server, expected - stored, dataset_id=dataset)
        stored = expected
        figures[f"{name}_jobs"] = expected
        figures[f"{name}_insert_s"] = time.perf_counter() - began_s
        asyncio.run(send_concurrently(server.port, 1, repeat(request, count=100)))
        stats = asyncio.run(send_concurrently(server.port, 1, repeat(request, count=1000)))
        check_statuses(stats, {200: 1000})
        figures[f"{name}_list_p50_ms"] = stats.quantile_ms(0.5)
        figures[f"{name}_list_p95_ms"] = stats.quantile_ms(0.95)
    figures["ratio"] = figures["many_list_p95_ms"] / figures["few_list_p95_ms"]
    return figures


def claim_jobs(server: ApiServer, *, count: int = 10_000) -> dict[str, float]:
    """Submit jobs over HTTP, then claim them as workers do."""
    ready_dataset(server.store, "load")
    before = redis_mib(server)
    request = server.request("POST", "/v1/jobs", SPEC.encode())
    stats = asyncio.run(send_concurrently(server.port, CLIENTS, repeat(request, count=count)))
    check_statuses(stats, {201: count})
    after = redis_mib(server)
    claims = RequestStats()
    claims.began_s = time.perf_counter()
    for _ in range(1000):
        began_s = time.perf_counter()
        lease = server.store.queue.claim(pools=("train",), worker_id="load", nonce=new_id("job"))
        claims.latencies_s.append(time.perf_counter() - began_s)
        assert lease is not None
    claims.ended_s = time.perf_counter()
    return {
        "jobs": count,
        "accepted_in_s": stats.ended_s - stats.began_s,
        "claim_p50_ms": claims.quantile_ms(0.5),
        "claim_p99_ms": claims.quantile_ms(0.99),
        "redis_mib": after,
        "redis_kib_per_job": 1024.0 * (after - before) / count,
    }


def insert_jobs(server: ApiServer, count: int, *, dataset_id: str) -> None:
    """Insert jobs into Redis directly, many per write, without ledger entries."""
    config = json.loads(
        server.store.client.run(lambda client: json.dumps(client.config_get("appendfsync")))
    )
    assert config == {"appendfsync": "always"}
    expected = server.store.client.expected
    keys = [] if expected is None else [identity_key(expected)]
    client = redis.Redis.from_url(server.redis.url)
    resolved = json.dumps({"dataset": "load", "epochs": 200, "padding": "x" * 1000})
    for begin in range(0, count, JOBS_PER_PIPELINE):
        pipe = client.pipeline(transaction=False)
        for _ in range(min(JOBS_PER_PIPELINE, count - begin)):
            job_id = new_id("job")
            fields = {
                "id": job_id,
                "kind": "train",
                "pool": "stored",
                "name": "stored",
                "spec_json": SPEC,
                "resolved_json": resolved,
                "reasons_json": "{}",
                "inputs": "{}",
                "folder": f"jobs/{job_id}",
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


def redis_mib(server: ApiServer) -> float:
    """Memory that Redis uses for its data."""
    return (
        float(server.store.client.run(lambda client: client.info("memory")["used_memory"])) / 2**20
    )


def check_statuses(stats: RequestStats, expected: dict[int, int]) -> None:
    """Raise RuntimeError unless the responses have the expected statuses."""
    if stats.statuses != expected:
        raise RuntimeError(f"Answers were {stats.statuses}, not {expected}.")
