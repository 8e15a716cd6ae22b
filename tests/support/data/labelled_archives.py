"""Twelve pictures of two classes and three splits, and what a test reads back of them."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np

from tests.support.data.images import picture, png, write_zip
from tests.support.data.ingest import Ingested
from trainer.modalities.image.packed import image_of

CLASSES = ["cat"] * 6 + ["dog"] * 6
PIXELS = np.stack([np.asarray(picture(n)) for n in range(12)])
SPLITS = ["train"] * 4 + ["val"] * 2 + ["train"] * 4 + ["test"] * 2


def tar_of(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def npy(array: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array))
    return file.getvalue()


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def images(pattern: str) -> dict[str, bytes]:
    return {pattern.format(n=n, label=CLASSES[n], split=SPLITS[n]): png(n) for n in range(12)}


def numbers(ingested: Ingested) -> list[int]:
    """Return the number of each row's picture among the twelve."""
    rows = [image_of(ingested.pack, row) for row in range(ingested.pack.rows)]
    return [next(n for n in range(12) if np.array_equal(row, PIXELS[n])) for row in rows]


def splits(ingested: Ingested) -> list[str] | None:
    if ingested.pack.split is None:
        return None
    return [("train", "val", "test")[place] for place in ingested.pack.split]


def as_folder(path: Path, files: dict[str, bytes]) -> Path:
    return folder_of(path / "set", files)


def as_zip(path: Path, files: dict[str, bytes]) -> Path:
    return write_zip(path / "x.zip", files)


def as_tar(path: Path, files: dict[str, bytes]) -> Path:
    (path / "x.tar").write_bytes(tar_of(files))
    return path / "x.tar"


def as_tgz(path: Path, files: dict[str, bytes]) -> Path:
    """With the table behind the pictures and the masks before them."""
    (path / "x.tgz").write_bytes(gzip.compress(tar_of(dict(sorted(files.items())))))
    return path / "x.tgz"


CARRIERS = {"folder": as_folder, "zip": as_zip, "tar": as_tar, "tar.gz": as_tgz}
"""Functions that write files in each of the ways in which users send them."""
