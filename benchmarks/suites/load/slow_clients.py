"""Clients that drip, and what they cost those who do not; and watchers of one job."""

import asyncio
import contextlib
import json
import time

from benchmarks.suites.load.api_server import Stage
from benchmarks.suites.load.http_clients import Tally, hammer, lasting
from benchmarks.suites.load.job_requests import check
from tests.support.service.api import ready_dataset, running_job

SLOW_CLIENTS = 300
DRIP_EVERY_S = 2.0
HEALTHY_CLIENTS = 4
RENEW_EVERY = 20


def slow(stage: Stage, *, seconds: float = 12.0) -> dict[str, float]:
    """A healthy client's waits without others, beside 300 slow heads, and 300 slow bodies."""
    ready_dataset(stage.store, "load")
    return asyncio.run(_slow(stage, seconds))


async def _slow(stage: Stage, seconds: float) -> dict[str, float]:
    head = stage.request("GET", "/v1/jobs?limit=20")[:-2]
    body = stage.request(
        "POST", "/v1/jobs", headers=("Content-Type: application/json", "Content-Length: 60000")
    )
    await _healthy(stage, 2.0)
    found = dict[str, float]()
    for name, opening in (("alone", None), ("heads", head), ("again", None), ("bodies", body)):
        dripping = [] if opening is None else await _dripping(stage, opening)
        tally = await _healthy(stage, seconds)
        found[f"{name}_p50_ms"] = tally.quantile_ms(0.5)
        found[f"{name}_p99_ms"] = tally.quantile_ms(0.99)
        if dripping:
            ends = await asyncio.gather(*dripping)
            found[f"{name}_closed_within_s"] = max(ends)
    alone = max(found["alone_p99_ms"], found["again_p99_ms"])
    found["ratio"] = max(found["heads_p99_ms"], found["bodies_p99_ms"]) / alone
    return found


async def _healthy(stage: Stage, seconds: float) -> Tally:
    request = stage.request("GET", "/v1/jobs?limit=20")
    tally = await hammer(stage.port, HEALTHY_CLIENTS, lasting(request, seconds=seconds))
    check(tally, {200: len(tally.waits_s)})
    return tally


async def _dripping(stage: Stage, opening: bytes) -> list["asyncio.Task[float]"]:
    wires = [await asyncio.open_connection("127.0.0.1", stage.port) for _ in range(SLOW_CLIENTS)]
    return [asyncio.create_task(_drip(reader, writer, opening)) for reader, writer in wires]


async def _drip(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, opening: bytes
) -> float:
    """A byte every two seconds until the service has had enough; after how long that was."""
    began_s = time.perf_counter()
    writer.write(opening)
    ended = asyncio.create_task(reader.read())
    while not (await asyncio.wait([ended], timeout=DRIP_EVERY_S))[0]:
        writer.write(b"x")
    with contextlib.suppress(ConnectionError):
        ended.result()
    writer.close()
    return time.perf_counter() - began_s


def watchers(
    stage: Stage, *, count: int = 200, events: int = 400, per_s: float = 20.0
) -> dict[str, float]:
    """Readers of one job's stream while events come: all of them, in order, how late."""
    return asyncio.run(_watchers(stage, count, events, per_s))


async def _watchers(stage: Stage, count: int, events: int, per_s: float) -> dict[str, float]:
    lease = await asyncio.to_thread(running_job, stage.store)
    before_mib, before_files = stage.memory_mib(), stage.open_files()
    path = f"/v1/jobs/{lease.job_id}/events"
    request = stage.request("GET", path, headers=("Accept: text/event-stream",))
    there = asyncio.Barrier(count + 1)
    following = [
        asyncio.create_task(_watch(stage.port, request, events, there)) for _ in range(count)
    ]
    await there.wait()  # until each has heard that the job was queued
    used_s, began_s = stage.cpu_s(), time.perf_counter()
    for number in range(events):
        row = {"type": "logged", "message": f"{number} {time.time():.6f}"}
        await asyncio.to_thread(stage.store.queue.append, lease, [json.dumps(row)], None)
        if number % RENEW_EVERY == 0:
            await asyncio.to_thread(stage.store.queue.renew, lease)
        await asyncio.sleep(max(0.0, began_s + (number + 1) / per_s - time.perf_counter()))
    share = (stage.cpu_s() - used_s) / (time.perf_counter() - began_s)
    during_mib = stage.memory_mib()
    lags = Tally()
    for heard in await asyncio.gather(*following):
        if [number for number, _ in heard] != list(range(events)):
            raise RuntimeError("A watcher missed an event or had it twice.")
        lags.waits_s += [lag_s for _, lag_s in heard]
    return {
        "watchers": count,
        "events": events,
        "lag_p50_ms": lags.quantile_ms(0.5),
        "lag_p99_ms": lags.quantile_ms(0.99),
        "api_cpu_share": share,
        "api_extra_mib": during_mib - before_mib,
        "api_files": stage.open_files() - before_files,
    }


async def _watch(
    port: int, request: bytes, events: int, there: asyncio.Barrier
) -> list[tuple[int, float]]:
    """Number and lag of each event, until the last one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    heard = list[tuple[int, float]]()
    await reader.readuntil(b"data: ")
    await there.wait()
    async with asyncio.timeout(300.0):
        while len(heard) < events:
            line = await reader.readline()
            if not line:
                raise ConnectionError("A stream ended early.")
            if line.startswith(b"data: ") and b'"logged"' in line:
                number, sent_s = json.loads(line[6:])["message"].split()
                heard.append((int(number), time.time() - float(sent_s)))
    writer.close()
    return heard
