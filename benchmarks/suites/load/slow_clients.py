"""Slow clients and their effect on healthy ones; watchers of one job's events."""

import asyncio
import contextlib
import json
import time

from benchmarks.suites.load.api_server import ApiServer
from benchmarks.suites.load.http_clients import RequestStats, for_seconds, send_concurrently
from benchmarks.suites.load.job_requests import check_statuses
from tests.support.service.api import ready_dataset, running_job

SLOW_CLIENTS = 300
DRIP_EVERY_S = 2.0
HEALTHY_CLIENTS = 4
RENEW_EVERY_EVENTS = 20


def slow_requests(server: ApiServer, *, seconds: float = 12.0) -> dict[str, float]:
    """Measure healthy clients alone, beside 300 slow request heads, and beside 300 slow bodies."""
    ready_dataset(server.store, "load")
    return asyncio.run(_slow_requests(server, seconds))


async def _slow_requests(server: ApiServer, seconds: float) -> dict[str, float]:
    head = server.request("GET", "/v1/jobs?limit=20")[:-2]
    body = server.request(
        "POST", "/v1/jobs", headers=("Content-Type: application/json", "Content-Length: 60000")
    )
    await _healthy_requests(server, 2.0)
    figures = dict[str, float]()
    for name, first_bytes in (("alone", None), ("heads", head), ("again", None), ("bodies", body)):
        dripping = [] if first_bytes is None else await _open_slow_clients(server, first_bytes)
        stats = await _healthy_requests(server, seconds)
        figures[f"{name}_p50_ms"] = stats.quantile_ms(0.5)
        figures[f"{name}_p99_ms"] = stats.quantile_ms(0.99)
        if dripping:
            ends = await asyncio.gather(*dripping)
            figures[f"{name}_closed_within_s"] = max(ends)
    baseline_ms = max(figures["alone_p99_ms"], figures["again_p99_ms"])
    figures["ratio"] = max(figures["heads_p99_ms"], figures["bodies_p99_ms"]) / baseline_ms
    return figures


async def _healthy_requests(server: ApiServer, seconds: float) -> RequestStats:
    request = server.request("GET", "/v1/jobs?limit=20")
    stats = await send_concurrently(
        server.port, HEALTHY_CLIENTS, for_seconds(request, seconds=seconds)
    )
    check_statuses(stats, {200: len(stats.latencies_s)})
    return stats


async def _open_slow_clients(server: ApiServer, first_bytes: bytes) -> list["asyncio.Task[float]"]:
    connections = [
        await asyncio.open_connection("127.0.0.1", server.port) for _ in range(SLOW_CLIENTS)
    ]
    return [
        asyncio.create_task(_drip(reader, writer, first_bytes)) for reader, writer in connections
    ]


async def _drip(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first_bytes: bytes
) -> float:
    """Send a byte every two seconds; return the seconds until the service closes the connection."""
    began_s = time.perf_counter()
    writer.write(first_bytes)
    ended = asyncio.create_task(reader.read())
    while not (await asyncio.wait([ended], timeout=DRIP_EVERY_S))[0]:
        writer.write(b"x")
    with contextlib.suppress(ConnectionError):
        ended.result()
    writer.close()
    return time.perf_counter() - began_s


def watch_events(
    server: ApiServer, *, count: int = 200, events: int = 400, per_s: float = 20.0
) -> dict[str, float]:
    """Check that all readers of one job's stream get all events in order, and measure the lag."""
    return asyncio.run(_watch_events(server, count, events, per_s))


async def _watch_events(
    server: ApiServer, count: int, events: int, per_s: float
) -> dict[str, float]:
    lease = await asyncio.to_thread(running_job, server.store)
    before_mib, before_files = server.memory_mib(), server.open_files()
    path = f"/v1/jobs/{lease.job_id}/events"
    request = server.request("GET", path, headers=("Accept: text/event-stream",))
    ready = asyncio.Barrier(count + 1)
    readers = [
        asyncio.create_task(_read_events(server.port, request, events, ready)) for _ in range(count)
    ]
    await ready.wait()  # until each has received the event that the job is queued
    used_s, began_s = server.cpu_s(), time.perf_counter()
    for number in range(events):
        row = {"type": "logged", "message": f"{number} {time.time():.6f}"}
        await asyncio.to_thread(server.store.queue.append, lease, [json.dumps(row)], None)
        if number % RENEW_EVERY_EVENTS == 0:
            await asyncio.to_thread(server.store.queue.renew, lease)
        await asyncio.sleep(max(0.0, began_s + (number + 1) / per_s - time.perf_counter()))
    share = (server.cpu_s() - used_s) / (time.perf_counter() - began_s)
    during_mib = server.memory_mib()
    lags = RequestStats()
    for events_read in await asyncio.gather(*readers):
        if [number for number, _ in events_read] != list(range(events)):
            raise RuntimeError("A watcher missed an event or had it twice.")
        lags.latencies_s += [lag_s for _, lag_s in events_read]
    return {
        "watchers": count,
        "events": events,
        "lag_p50_ms": lags.quantile_ms(0.5),
        "lag_p99_ms": lags.quantile_ms(0.99),
        "api_cpu_share": share,
        "api_extra_mib": during_mib - before_mib,
        "api_files": server.open_files() - before_files,
    }


async def _read_events(
    port: int, request: bytes, events: int, ready: asyncio.Barrier
) -> list[tuple[int, float]]:
    """Return the number and lag of each event up to the last one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    events_read = list[tuple[int, float]]()
    await reader.readuntil(b"data: ")
    await ready.wait()
    async with asyncio.timeout(300.0):
        while len(events_read) < events:
            line = await reader.readline()
            if not line:
                raise ConnectionError("A stream ended early.")
            if line.startswith(b"data: ") and b'"logged"' in line:
                number, sent_s = json.loads(line[6:])["message"].split()
                events_read.append((int(number), time.time() - float(sent_s)))
    writer.close()
    return events_read
