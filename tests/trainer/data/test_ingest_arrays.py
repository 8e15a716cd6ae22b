"""Ingest of IDX and NumPy arrays; arrays with wrong headers raise errors."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.data.ingest import ingested
from tests.support.data.labelled_archives import CARRIERS
from trainer.schema.errors import DataError


def rows_of(count: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (count, *shape), dtype=np.uint8)


def idx(array: NDArray[np.uint8]) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
def test_idx_files_with_labels_beside(tmp_path: Path, pack: type[bytes]) -> None:
    images, labels = rows_of(20, 9, 7), np.arange(20, dtype=np.uint8) % 3 + 4
    suffix = "" if pack is bytes else ".gz"
    source = tmp_path / f"train-images-idx3-ubyte{suffix}"
    source.write_bytes(pack(idx(images)))
    without = ingested(source, tmp_path / "without")
    assert without.facts.labels == ()
    (tmp_path / f"train-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(labels)))
    made = ingested(source, tmp_path / "with")
    assert made.label_names() == [str(label) for label in labels]
    assert made.facts.same_size
    expected = np.repeat(images[..., None], 3, axis=3)
    assert np.array_equal(made.pack.grid(), expected)


@pytest.mark.parametrize("packer", CARRIERS)
def test_idx_files_inside_a_folder_or_archive(tmp_path: Path, packer: str) -> None:
    images, labels = rows_of(20, 9, 7), np.arange(20, dtype=np.uint8) % 3
    files = {
        "mnist/train-labels-idx1-ubyte.gz": gzip.compress(idx(labels)),
        "mnist/train-images-idx3-ubyte": idx(images),
        "mnist/t10k-images-idx3-ubyte": idx(images[:3]),
        "mnist/readme.txt": b"x",
    }
    made = ingested(CARRIERS[packer](tmp_path, files), tmp_path / "out")
    assert made.label_names() == [str(label) for label in labels]
    assert np.array_equal(made.pack.grid()[..., 0], images)
    assert made.report() == {"mnist/t10k-images-idx3-ubyte": "refused"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (idx(rows_of(4, 5, 5))[:-1], "ends too soon"),
        (idx(rows_of(4, 5, 5)) + b"x", "bytes follow"),
        (idx(rows_of(4, 5, 5))[:10], "ends too soon"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "pixels_max is"),
        (idx(rows_of(4, 5)), "not images"),
        (b"\0\0\x0d\x03" + bytes(12), "no known format"),
    ],
)
def test_idx_files_that_lie(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "x-idx3-ubyte").write_bytes(data)
    with pytest.raises(DataError, match=reason):
        ingested(tmp_path / "x-idx3-ubyte", tmp_path / "out")


def test_idx_labels_must_fit(tmp_path: Path) -> None:
    (tmp_path / "t-images-idx3-ubyte").write_bytes(idx(rows_of(4, 5, 5)))
    (tmp_path / "t-labels-idx1-ubyte").write_bytes(idx(np.zeros(5, np.uint8)))
    with pytest.raises(DataError, match="labels of shape"):
        ingested(tmp_path / "t-images-idx3-ubyte", tmp_path / "out")


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3), (3, 9, 7), (1, 9, 7)])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_npy_arrays_of_every_layout(tmp_path: Path, shape: tuple[int, ...], kind: type) -> None:
    levels = rows_of(6, *shape)
    array = levels if kind is np.uint8 else levels.astype(kind) / kind(255)
    np.save(tmp_path / "x.npy", array)
    made = ingested(tmp_path / "x.npy", tmp_path / "out")
    if levels.ndim == 4 and shape[2] == 7:
        levels = levels.transpose(0, 2, 3, 1)
    expected = levels.reshape(6, 9, 7, -1)
    if kind is np.uint8:
        assert np.array_equal(made.pack.grid(), np.broadcast_to(expected, (6, 9, 7, 3)))
    else:
        mapping = made.facts.values
        assert mapping is not None
        values = made.pack.grid() * mapping.scale + mapping.offset
        assert np.allclose(values, expected / 255.0, atol=0.51 / 65_535)
    assert made.facts.labels == ()


def test_npy_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    np.save(tmp_path / "x.npy", np.array([Trap(), Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        ingested(tmp_path / "x.npy", tmp_path / "out")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "array", [np.zeros((3, 4)), np.zeros((3, 4, 4), np.int64), np.zeros((3, 5, 5, 5), np.uint8)]
)
def test_npy_arrays_that_are_no_images(tmp_path: Path, array: NDArray[np.float64]) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(DataError):
        ingested(tmp_path / "x.npy", tmp_path / "out")


def test_no_truncated_npy_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", rows_of(6, 9, 7))
    whole = (tmp_path / "x.npy").read_bytes()
    for length in range(0, len(whole), 17):
        (tmp_path / "x.npy").write_bytes(whole[:length])
        with pytest.raises(DataError):
            ingested(tmp_path / "x.npy", tmp_path / "out")


def test_a_damaged_header_is_told_in_words(tmp_path: Path) -> None:
    """NumPy's own text may name an address in memory, another one each time."""
    np.save(tmp_path / "x.npy", rows_of(6, 9, 7))
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(whole.replace(b"'<i8'", b"f(1) ").replace(b"'|u1'", b"f(1) "))
    with pytest.raises(DataError, match="its header is damaged"):
        ingested(tmp_path / "x.npy", tmp_path / "out")


@pytest.mark.parametrize(
    "header", [b"{'descr': nonsense", b"{'descr'", b"(", b"[1", b"'", b"\n  1\n 2"]
)
def test_a_header_that_does_not_parse_is_a_data_error(header: bytes, tmp_path: Path) -> None:
    """NumPy raises tokenize.TokenError, among others, for the header of a version 1.0 file."""
    padded = header.ljust(118)
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + b"\x76\x00" + padded + bytes(300))
    with pytest.raises(DataError, match="its header is damaged"):
        ingested(tmp_path / "x.npy", tmp_path / "out")


def test_rows_of_floats_of_any_size_are_rows(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((5, 8, 8))
    array[2, 0, 0] = np.nan
    array[3] *= 255
    np.save(tmp_path / "x.npy", array)
    made = ingested(tmp_path / "x.npy", tmp_path / "out")
    assert (made.report(), made.facts.rows) == ({}, 5)
