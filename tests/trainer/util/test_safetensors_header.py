"""The header of a safetensors file: as the library reads it, and every lie in it refused."""

import io
import json
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.util.safetensors_header import (
    HEADER_BYTES_MAX,
    WEIGHTS_DTYPES,
    BadHeader,
    header_bytes,
    in_file_order,
    read_header,
)

TENSORS = {
    "b.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "a": torch.ones(3, dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "half": torch.zeros(0, 4, dtype=torch.float16),
}


def parsed(data: bytes, **words: Any) -> Any:  # noqa: ANN401  # what read_header returns
    return read_header(io.BytesIO(data), size_bytes=len(data), **words)


def file_of(entries: object, data_bytes: int = 24) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data_bytes)


def entry(**changes: object) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24], **changes}


def test_tensors_are_where_the_library_wrote_them() -> None:
    data = safetensors.torch.save(TENSORS, metadata={"format": "pt"})
    header = parsed(data, dtypes=WEIGHTS_DTYPES)
    for name, tensor in TENSORS.items():
        it = header.tensors[name]
        raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        assert data[header.data_start :][it.start : it.end] == raw
        assert it.shape == tuple(tensor.shape)
    ordered = {n: (it.dtype, it.shape, it.size_bytes) for n, it in in_file_order(header.tensors)}
    assert data.startswith(header_bytes(ordered)), "the header that the library writes, to the byte"


HOSTILE = {
    "empty": b"",
    "short": b"\x02\0\0\0\0\0\0",
    "length beyond the file": (2**63).to_bytes(8, "little") + b"{}",
    "length of all bits": b"\xff" * 8 + b"{}",
    "a long header": file_of(b" " * (HEADER_BYTES_MAX + 1)),
    "a pickle": b"\x80\x02}q\x00X\x04\x00\x00\x00" + bytes(40),
    "no JSON": file_of(b"{nonsense"),
    "no UTF-8": file_of(b'{"\xff": 1}'),
    "no object": file_of([1, 2]),
    "deep": file_of(b"[" * 100_000),
    "a number of a million digits": file_of(b'{"a": ' + b"9" * 100_000 + b"}"),
    "NaN": file_of(b'{"a": NaN}'),
    "a name twice": file_of(
        b'{"a": {"dtype": "F32", "dtype": "F32", "shape": [], "data_offsets": [0, 4]}}', 4
    ),
    "no tensor": file_of({"a": 3}),
    "more fields": file_of({"a": entry(more=1)}),
    "fewer fields": file_of({"a": {"dtype": "F32", "shape": [6]}}),
    "unknown dtype": file_of({"a": entry(dtype="F128")}),
    "dtype that is no text": file_of({"a": entry(dtype=["F32"])}),
    "negative shape": file_of({"a": entry(shape=[-2, -3])}),
    "shape of floats": file_of({"a": entry(shape=[2.0, 3.0])}),
    "shape of booleans": file_of({"a": entry(shape=[True, 6])}),
    "product beyond 64 bits": file_of({"a": entry(shape=[2**32, 2**32])}),
    "a size beyond 63 bits": file_of({"a": entry(shape=[2**63], data_offsets=[0, 2**65])}),
    "nine dimensions": file_of({"a": entry(shape=[1] * 8 + [6])}),
    "offsets in reverse": file_of({"a": entry(data_offsets=[24, 0])}),
    "negative offset": file_of({"a": entry(data_offsets=[-24, 0])}),
    "three offsets": file_of({"a": entry(data_offsets=[0, 12, 24])}),
    "beyond the file": file_of({"a": entry()}, data_bytes=23),
    "bytes without a tensor": file_of({"a": entry()}, data_bytes=25),
    "overlap": file_of({"a": entry(), "b": entry(data_offsets=[12, 36])}, data_bytes=36),
    "the same bytes twice": file_of({"a": entry(), "b": entry()}),
    "a gap": file_of({"a": entry(), "b": entry(data_offsets=[25, 49])}, data_bytes=49),
    "too many tensors": file_of({str(n): 1 for n in range(10_001)}),
    "a long name": file_of({"a" * 513: entry()}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers_are_refused(case: str) -> None:
    with pytest.raises(BadHeader) as refusal:
        parsed(HOSTILE[case])
    assert len(str(refusal.value)) < 300


def test_dtypes_that_no_weights_have_are_refused() -> None:
    data = safetensors.torch.save({"a": torch.zeros(3, dtype=torch.float64)})
    parsed(data)
    with pytest.raises(BadHeader, match="F64; allowed: BF16, F16, F32, I64"):
        parsed(data, dtypes=WEIGHTS_DTYPES)


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(0, 255))
def test_what_is_accepted_is_what_the_library_accepts(place: int, value: int) -> None:
    """One byte of a file is changed: no file passes here that the library refuses."""
    data = bytearray(safetensors.torch.save(TENSORS, metadata={"format": "pt"}))
    data[place % len(data)] = value
    try:
        header = parsed(bytes(data))
    except BadHeader:
        return
    loaded = safetensors.torch.load(bytes(data))
    assert {name: it.shape for name, it in header.tensors.items()} == {
        name: tuple(tensor.shape) for name, tensor in loaded.items()
    }
