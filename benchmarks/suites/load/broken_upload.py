"""Upload of gigabytes with broken connections at random offsets."""

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Iterator

from benchmarks.suites.load.api_server import ApiServer
from benchmarks.suites.load.http_clients import END_OF_HEAD, repeat, send_concurrently

BLOCK = 2**20
BREAKS = 5


def upload_blocks(size: int, *, begin: int = 0) -> Iterator[bytes]:
    """Yield blocks from byte `begin` on, each a block number and random bytes, all different."""
    noise = random.Random(3).randbytes(BLOCK)
    for number in range(begin // BLOCK, -(-size // BLOCK)):
        block = number.to_bytes(8, "big") + noise[8:]
        yield block[max(0, begin - number * BLOCK) : size - number * BLOCK]


def upload(server: ApiServer, *, size: int = 3 * 2**30, seed: int = 5) -> dict[str, float]:
    """Upload, closing the socket at random offsets, while another client requests /livez."""
    digest = hashlib.sha256()
    for block in upload_blocks(size):
        digest.update(block)
    return asyncio.run(_upload(server, size, digest.hexdigest(), random.Random(seed)))


async def _upload(
    server: ApiServer, size: int, sha256: str, rng: random.Random
) -> dict[str, float]:
    body = json.dumps({"name": "huge", "size_bytes": size, "sha256": sha256}).encode()
    status, created = await _ask(server, server.request("POST", "/v1/datasets", body))
    assert status == 201, created
    dataset = json.loads(created)["id"]
    await _ask(server, server.request("GET", "/livez"))
    before_mib, cpu_before_s = server.memory_mib(), server.cpu_s()
    server.reset_peak()
    request = server.request("GET", "/livez")
    cuts = sorted(rng.randrange(1, size) for _ in range(BREAKS))
    began_s = time.perf_counter()
    sending = asyncio.create_task(_send_all(server, dataset, size, cuts))
    slowest_s = 0.0
    while not sending.done():
        stats = await send_concurrently(server.port, 1, repeat(request, count=1))
        slowest_s = max(slowest_s, *stats.latencies_s)
        await asyncio.sleep(0.2)
    answer = json.loads(await sending)
    took_s = time.perf_counter() - began_s
    if (answer["sha256"], answer["status"]) != (sha256, "preparing"):
        raise RuntimeError(f"The upload ended as {answer}.")
    return {
        "gib": size / 2**30,
        "kills": BREAKS,
        "mib_per_s": size / 2**20 / took_s,
        "api_cpu_s_per_gib": (server.cpu_s() - cpu_before_s) / (size / 2**30),
        "api_extra_mib": server.peak_memory_mib() - before_mib,
        "slowest_livez_ms": 1000.0 * slowest_s,
    }


async def _send_all(server: ApiServer, dataset: str, size: int, cuts: list[int]) -> bytes:
    path, stored = f"/v1/datasets/{dataset}/content", 0
    for end in cuts:
        await _send(server, path, stored, min(size, end), size, is_cut=True)
        await asyncio.sleep(0.2)
        stored = await _stored_bytes(server, path)
        if not 0 < stored <= end:
            raise RuntimeError(f"{stored} bytes are held of {end} that were sent.")
    return await _send(server, path, stored, size, size, is_cut=False)


async def _stored_bytes(server: ApiServer, path: str) -> int:
    head = await _head(server, server.request("HEAD", path))
    lines = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:] if line)
    return int(lines[b"upload-offset"])


async def _send(  # one request in all its parts
    server: ApiServer, path: str, begin: int, end: int, size: int, *, is_cut: bool
) -> bytes:
    """Send bytes `begin` to `end`; return the body of the response unless the socket is closed."""
    lines = (f"Upload-Offset: {begin}", f"Content-Length: {size - begin}")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(server.request("PUT", path, headers=lines))
    for block in upload_blocks(end, begin=begin):
        writer.write(block)
        await writer.drain()
    if is_cut:
        writer.transport.abort()
        return b""
    status, answer = await _answer(reader)
    writer.close()
    assert status == 200, answer
    return answer


async def _ask(server: ApiServer, request: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    response = await _answer(reader)
    writer.close()
    return response


async def _head(server: ApiServer, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    response = await reader.readuntil(END_OF_HEAD)
    writer.close()
    return response


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(END_OF_HEAD)).lower()
    size = int(head.partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
    return int(head[9:12]), await reader.readexactly(size)
