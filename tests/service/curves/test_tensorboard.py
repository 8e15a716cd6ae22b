"""Curves as files. The event file is read back by a reader written from the format alone."""

import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from service.curves.tensorboard import crc32c, event_file
from tests.support.service.api import RunningApi, queued_job, running_job

READINGS = [
    {"step": 1, "epoch": 0.1, "loss": 6.957, "lr": 0.03, "rows_per_s": 812.0},
    {"step": 130, "epoch": 0.2, "knn_top1": 0.3198},
    {"step": 70_000, "epoch": 9.9, "loss": -1e-9, "memory_bytes": 8_123_456_789.0},
]


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_the_checksum_has_the_values_of_rfc_3720(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum == by_division(data)


def by_division(data: bytes) -> int:
    """CRC-32C as the remainder of a division of polynomials, one bit at a time."""
    remainder = 0xFFFFFFFF
    for byte in data:
        for place in range(8):
            out = (remainder >> 31) ^ (byte >> place & 1)
            remainder = (remainder << 1 & 0xFFFFFFFF) ^ (0x1EDC6F41 if out else 0)
    return int(f"{remainder ^ 0xFFFFFFFF:032b}"[::-1], 2)


def records(data: bytes) -> Iterator[bytes]:
    """The messages of a file; every checksum must be right, and nothing may be left over."""
    place = 0
    while place < len(data):
        head = data[place : place + 8]
        (length,) = struct.unpack("<Q", head)
        message = data[place + 12 : place + 12 + length]
        for part, at in ((head, place + 8), (message, place + 12 + length)):
            (masked,) = struct.unpack_from("<I", data, at)
            rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
            assert (rotated >> 17 | rotated << 15) & 0xFFFFFFFF == by_division(part)
        yield message
        place += 16 + length
    assert place == len(data)


def fields(message: bytes) -> list[tuple[int, Any]]:
    """(number, value) of each field; what is sized stays bytes."""
    found: list[tuple[int, Any]] = []
    place = 0

    def varint() -> int:
        nonlocal place
        number = shift = 0
        while True:
            byte = message[place]
            place += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while place < len(message):
        key = varint()
        match key & 7:
            case 0:
                value: Any = varint()
            case 1:
                (value,) = struct.unpack_from("<d", message, place)
                place += 8
            case 2:
                size = varint()
                value = message[place : place + size]
                assert len(value) == size
                place += size
            case 5:
                (value,) = struct.unpack_from("<f", message, place)
                place += 4
            case other:
                raise AssertionError(f"wire type {other}")
        found.append((key >> 3, value))
    return found


def scalars(data: bytes, *, wall_time_s: float) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value) of an event file."""
    messages = [fields(message) for message in records(data)]
    assert messages[0] == [(1, wall_time_s), (3, b"brain.Event:2")]
    found: dict[str, list[tuple[int, float]]] = {}
    for message in messages[1:]:
        known = dict(message)
        assert known[1] == wall_time_s
        for number, value in fields(known[5]):
            assert number == 1
            one = dict(fields(value))
            found.setdefault(one[1].decode(), []).append((known.get(2, 0), one[2]))
    return found


def lines(*readings: dict[str, float]) -> list[bytes]:
    return [json.dumps(reading).encode() + b"\n" for reading in readings]


def expected(readings: list[dict[str, float]]) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for reading in readings:
        for name, value in reading.items():
            if name not in ("step", "epoch"):
                as_float32 = struct.unpack("<f", struct.pack("<f", value))[0]
                found.setdefault(name, []).append((int(reading["step"]), as_float32))
    return found


def test_an_event_file_holds_every_signal() -> None:
    many = [{"step": step, "loss": math.sin(step)} for step in range(500)]
    for readings in (READINGS, many, []):
        data = b"".join(event_file(lines(*readings), wall_time_s=1.5))
        assert scalars(data, wall_time_s=1.5) == expected(readings)


def test_odd_lines_are_passed_over() -> None:
    odd = [b"\n", b"[]\n", b'{"loss": 1}\n', b'{"step": 1, "loss": NaN}\n', b'{"step": 4, "lo']
    odd += [b'{"step": -3, "loss": 1}\n', b'{"step": 5, "loss": 1e300}\n']
    found = scalars(b"".join(event_file(odd, wall_time_s=0.5)), wall_time_s=0.5)
    ((step, value),) = found["loss"]
    assert step == 5
    assert value == pytest.approx(3.4028235e38)


def test_the_files_of_a_running_job(api: RunningApi) -> None:
    lease = running_job(api.store)
    folder = api.data_dir / lease.folder / "attempts" / "1"
    folder.mkdir(parents=True)
    whole = b"".join(lines(*READINGS))
    (folder / "metrics.jsonl").write_bytes(whole + b'{"step": 70100, "lo')
    answer = api.client.get(f"/v1/jobs/{lease.job_id}/metrics.jsonl")
    assert (answer.status_code, answer.content) == (200, whole)
    assert answer.headers["Content-Length"] == str(len(whole))
    assert 'filename="metrics.jsonl"' in answer.headers["Content-Disposition"]
    answer = api.client.get(f"/v1/jobs/{lease.job_id}/tensorboard")
    began_s = api.store.jobs.get(lease.job_id).started_at_s
    assert began_s
    assert scalars(answer.content, wall_time_s=began_s) == expected(READINGS)
    assert "tfevents" in answer.headers["Content-Disposition"]


def test_the_files_of_a_job_that_has_not_begun(api: RunningApi) -> None:
    job = queued_job(api.store)
    assert api.client.get(f"/v1/jobs/{job}/metrics.jsonl").content == b""
    created_s = api.store.jobs.get(job).created_at_s
    data = api.client.get(f"/v1/jobs/{job}/tensorboard").content
    assert scalars(data, wall_time_s=created_s) == {}
    for name in ("metrics.jsonl", "tensorboard"):
        assert api.client.get(f"/v1/jobs/job_nothing/{name}").status_code == 404
