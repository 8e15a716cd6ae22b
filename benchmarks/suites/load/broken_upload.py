"""Gigabytes in, through breaks at random bytes, in little memory."""

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Iterator

from benchmarks.suites.load.api_server import Stage
from benchmarks.suites.load.http_clients import END_OF_HEAD, hammer, repeated

BLOCK = 2**20
KILLS = 5


def content(size: int, *, begin: int = 0) -> Iterator[bytes]:
    """Bytes that no other offset has, from `begin` on: a random block behind its own number."""
    noise = random.Random(3).randbytes(BLOCK)
    for number in range(begin // BLOCK, -(-size // BLOCK)):
        block = number.to_bytes(8, "big") + noise[8:]
        yield block[max(0, begin - number * BLOCK) : size - number * BLOCK]


def upload(stage: Stage, *, size: int = 3 * 2**30, seed: int = 5) -> dict[str, float]:
    """Send it, closing the socket at random bytes; another client asks for /livez meanwhile."""
    digest = hashlib.sha256()
    for block in content(size):
        digest.update(block)
    return asyncio.run(_upload(stage, size, digest.hexdigest(), random.Random(seed)))


async def _upload(stage: Stage, size: int, sha256: str, rng: random.Random) -> dict[str, float]:
    body = json.dumps({"name": "huge", "size_bytes": size, "sha256": sha256}).encode()
    status, made = await _ask(stage, stage.request("POST", "/v1/datasets", body))
    assert status == 201, made
    dataset = json.loads(made)["id"]
    await _ask(stage, stage.request("GET", "/livez"))
    before_mib, used_s = stage.memory_mib(), stage.cpu_s()
    stage.forget_peak()
    request = stage.request("GET", "/livez")
    ends = sorted(rng.randrange(1, size) for _ in range(KILLS))
    began_s = time.perf_counter()
    sending = asyncio.create_task(_send_all(stage, dataset, size, ends))
    slowest_s = 0.0
    while not sending.done():
        tally = await hammer(stage.port, 1, repeated(request, count=1))
        slowest_s = max(slowest_s, *tally.waits_s)
        await asyncio.sleep(0.2)
    answer = json.loads(await sending)
    took_s = time.perf_counter() - began_s
    if (answer["sha256"], answer["status"]) != (sha256, "preparing"):
        raise RuntimeError(f"The upload ended as {answer}.")
    return {
        "gib": size / 2**30,
        "kills": KILLS,
        "mib_per_s": size / 2**20 / took_s,
        "api_cpu_s_per_gib": (stage.cpu_s() - used_s) / (size / 2**30),
        "api_extra_mib": stage.memory_peak_mib() - before_mib,
        "slowest_livez_ms": 1000.0 * slowest_s,
    }


async def _send_all(stage: Stage, dataset: str, size: int, ends: list[int]) -> bytes:
    path, held = f"/v1/datasets/{dataset}/content", 0
    for end in ends:
        await _send(stage, path, held, min(size, end), size, is_cut=True)
        await asyncio.sleep(0.2)
        held = await _held(stage, path)
        if not 0 < held <= end:
            raise RuntimeError(f"{held} bytes are held of {end} that were sent.")
    return await _send(stage, path, held, size, size, is_cut=False)


async def _held(stage: Stage, path: str) -> int:
    head = await _head(stage, stage.request("HEAD", path))
    lines = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:] if line)
    return int(lines[b"upload-offset"])


async def _send(  # one request in all its parts
    stage: Stage, path: str, begin: int, end: int, size: int, *, is_cut: bool
) -> bytes:
    """Bytes `begin` to `end`; the body of the answer, unless it is cut off."""
    lines = (f"Upload-Offset: {begin}", f"Content-Length: {size - begin}")
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(stage.request("PUT", path, headers=lines))
    for block in content(end, begin=begin):
        writer.write(block)
        await writer.drain()
    if is_cut:
        writer.transport.abort()
        return b""
    status, answer = await _answer(reader)
    writer.close()
    assert status == 200, answer
    return answer


async def _ask(stage: Stage, request: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(request)
    found = await _answer(reader)
    writer.close()
    return found


async def _head(stage: Stage, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(request)
    found = await reader.readuntil(END_OF_HEAD)
    writer.close()
    return found


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(END_OF_HEAD)).lower()
    size = int(head.partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
    return int(head[9:12]), await reader.readexactly(size)
