"""TensorBoard's event files, written from the lines of a `metrics.jsonl`.

A file is a row of records: length (u64), masked CRC-32C of those 8 bytes, an Event message, and
the masked CRC-32C of the message; all little-endian. The first Event names the version of the
format. Of protobuf's wire format three kinds of fields are needed: varint, 64 and 32 bits, and
bytes. Field numbers are those of tensorflow/core/util/event.proto and framework/summary.proto.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping

from service.curves.reader import parse_readings, signals_of

FILE_VERSION = "brain.Event:2"
_POLYNOMIAL = 0x82F63B78
"""Castagnoli's, of CRC-32C, with the bits reversed (RFC 3720, appendix B.4)."""
_MASK = 0xA282EAD8
_EVENTS_A_PART = 64


def event_file(blocks: Iterable[bytes], *, wall_time_s: float) -> Iterator[bytes]:
    """Yield the file in parts. Each block holds whole lines of a `metrics.jsonl`.

    Every event has the same `wall_time_s`: a training keeps no times, so that it can be repeated
    bit for bit. TensorBoard's axis of steps is right, its axis of time is not used.
    """
    held = [record(_event(wall_time_s, version=FILE_VERSION))]
    for block in blocks:
        for reading in parse_readings(block):
            step, signals = int(reading["step"]), signals_of(reading)
            if signals and step >= 0:
                held.append(record(_event(wall_time_s, step=step, signals=signals)))
            if len(held) >= _EVENTS_A_PART:
                yield b"".join(held)
                held = []
    yield b"".join(held)


def record(message: bytes) -> bytes:
    """Return a message framed with its length and both checksums."""
    length = struct.pack("<Q", len(message))
    return b"".join((length, _checksum(length), message, _checksum(message)))


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of `data`."""
    crc, table = 0xFFFFFFFF, _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _checksum(data: bytes) -> bytes:
    """Return the masked checksum: one over data that contains checksums would be weak."""
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF)


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE = _table()


def _event(
    wall_time_s: float,
    *,
    step: int = 0,
    version: str = "",
    signals: Mapping[str, float] | None = None,
) -> bytes:
    """Encode Event {double wall_time=1; int64 step=2; string file_version=3; Summary summary=5}."""
    parts = [b"\x09", struct.pack("<d", wall_time_s)]
    if step:
        parts += [b"\x10", _varint(step)]
    if version:
        parts += [b"\x1a", _sized(version.encode())]
    if signals:
        values = b"".join(b"\x0a" + _sized(_value(name, signals[name])) for name in signals)
        parts += [b"\x2a", _sized(values)]
    return b"".join(parts)


def _value(tag: str, number: float) -> bytes:
    """Encode Summary.Value {string tag=1; float simple_value=2}."""
    return b"\x0a" + _sized(tag.encode()) + b"\x15" + struct.pack("<f", _as_float32(number))


def _as_float32(number: float) -> float:
    """Clip a number to the range of float32: struct refuses more."""
    most = 3.4028234663852886e38
    return max(-most, min(most, number))


def _sized(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _varint(number: int) -> bytes:
    """Encode a varint: seven bits a byte, low bits first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
