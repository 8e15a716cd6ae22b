"""The same pictures in every container and beside every table: rows, labels and splits."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet as pq

from tests.support.data.images import png, write_zip
from tests.support.data.ingest import ingested
from tests.support.data.labelled_archives import (
    CLASSES,
    PIXELS,
    SPLITS,
    as_folder,
    as_tar,
    as_zip,
    folder_of,
    images,
    npy,
    numbers,
    splits,
    tar_of,
)
from trainer.data.readers.items import Limits
from trainer.schema.errors import DataError


def shard(some: list[int], kind: str) -> dict[str, bytes]:
    label = {"cat": "0", "dog": "1"}
    files = {}
    for n in some:
        files[f"{n:04d}.png"] = png(n)
        files[f"{n:04d}.{kind}"] = (
            label[CLASSES[n]].encode()
            if kind == "cls"
            else json.dumps({"label": CLASSES[n], "caption": "a picture"}).encode()
        )
        files[f"{n:04d}.txt"] = b"a picture"
    return files


def hf_parquet(path: Path, some: list[int], *, names: bool = True) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": png(n), "path": f"{n}.png"} for n in some]
    label = [["cat", "dog"].index(CLASSES[n]) for n in some]
    features = {
        "image": {"_type": "Image"},
        "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
    }
    table = pa.table({"image": pa.array(rows, kind), "label": pa.array(label, pa.int64())})
    if names:
        metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
        table = table.replace_schema_metadata(metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=5)


def webdataset(path: Path, kind: str) -> Path:
    (path / "set").mkdir()
    for number in range(2):
        some = [n for n in range(12) if n % 2 == number]
        (path / f"set/shard-{number:06d}.tar").write_bytes(tar_of(shard(some, kind)))
    return path / "set"


def one_shard(path: Path) -> Path:
    (path / "x.tar").write_bytes(tar_of(shard(list(range(12)), "cls")))
    return path / "x.tar"


def parquets(path: Path) -> Path:
    hf_parquet(path / "set/data/train-00000-of-00001.parquet", [0, 1, 2, 3, 6, 7, 8, 9])
    hf_parquet(path / "set/data/validation-00000-of-00001.parquet", [4, 5])
    hf_parquet(path / "set/data/test-00000-of-00001.parquet", [10, 11])
    return path / "set"


def one_parquet(path: Path) -> Path:
    hf_parquet(path / "x.parquet", list(range(12)))
    return path / "x.parquet"


def medmnist(path: Path) -> Path:
    labels = np.array([[["cat", "dog"].index(name)] for name in CLASSES], np.uint8)
    arrays: dict[str, NDArray[np.uint8]] = {}
    for split in ("train", "val", "test"):
        some = [n for n in range(12) if SPLITS[n] == split]
        arrays |= {f"{split}_images": PIXELS[some], f"{split}_labels": labels[some]}
    np.savez_compressed(path / "x.npz", **arrays)  # type: ignore[arg-type]
    return path / "x.npz"


def npys(path: Path) -> Path:
    return folder_of(path / "set", {f"{CLASSES[n]}/{n}.npy": npy(PIXELS[n]) for n in range(12)})


def x_and_y(path: Path) -> Path:
    return folder_of(path / "set", {"x.npy": npy(PIXELS), "y.npy": npy(CLASSES)})


def several_archives(path: Path) -> Path:
    cats = {f"{n}.png": png(n) for n in range(6)}
    dogs = {f"{n}.png": png(n) for n in range(6, 12)}
    folder_of(path / "set", {"dog.tar.gz": gzip.compress(tar_of(dogs))})
    write_zip(path / "set/cat.zip", cats)
    return path / "set"


def archives_in_a_tar(path: Path) -> Path:
    folder = several_archives(path)
    files = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
    (path / "x.tar").write_bytes(tar_of(files))
    return path / "x.tar"


def archives_in_a_packed_tar(path: Path) -> Path:
    tar = archives_in_a_tar(path)
    (path / "x.tar.xz").write_bytes(lzma.compress(tar.read_bytes()))
    return path / "x.tar.xz"


def packed(compress: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        (path / "x").write_bytes(compress(tar_of(images("{label}/{n}.png"))))
        return path / "x"

    return make


def zstd(data: bytes) -> bytes:
    result: bytes = pa.compress(data, codec="zstd", asbytes=True)
    return result


def split_folders(path: Path) -> Path:
    return folder_of(path / "set", images("{split}/{label}/{n}.png"))


CONTAINERS: dict[str, tuple[Callable[[Path], Path], list[str], bool]] = {
    "WebDataset with cls": (lambda path: webdataset(path, "cls"), ["0", "1"], False),
    "WebDataset with json": (lambda path: webdataset(path, "json"), ["cat", "dog"], False),
    "one shard": (one_shard, ["0", "1"], False),
    "parquet files": (parquets, ["cat", "dog"], True),
    "one parquet file": (one_parquet, ["cat", "dog"], False),
    "npz": (medmnist, ["0", "1"], True),
    "npy files": (npys, ["cat", "dog"], False),
    "x and y": (x_and_y, ["cat", "dog"], False),
    "several archives": (several_archives, ["cat", "dog"], False),
    "archives in a tar": (archives_in_a_tar, ["cat", "dog"], False),
    "archives in a packed tar": (archives_in_a_packed_tar, ["cat", "dog"], False),
    "tar.bz2": (packed(bz2.compress), ["cat", "dog"], False),
    "tar.xz": (packed(lzma.compress), ["cat", "dog"], False),
    "tar.zst": (packed(zstd), ["cat", "dog"], False),
    "folders of splits": (split_folders, ["cat", "dog"], True),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_twelve_pictures_of_two_classes_are_read_from(name: str, tmp_path: Path) -> None:
    make, classes, has_splits = CONTAINERS[name]
    made = ingested(make(tmp_path), tmp_path / "out")
    assert made.report_lines() == []
    rows = numbers(made)
    assert sorted(rows) == list(range(12))
    assert made.facts.labels == tuple(classes)
    place = dict(zip(["cat", "dog"], classes, strict=True))
    assert made.label_names() == [place[CLASSES[n]] for n in rows]
    assert splits(made) == ([SPLITS[n] for n in rows] if has_splits else None)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["pack"]


def test_names_of_shards_are_no_classes_but_tell_splits(tmp_path: Path) -> None:
    """Shards of img2dataset have captions and no labels."""
    for name, some in (("train/00000", range(4)), ("train/00001", range(4, 9)), ("val/0", [9, 10])):
        files = {f"{n:04d}.png": png(n) for n in some}
        files |= {f"{n:04d}.json": b'{"caption": "a picture", "width": 12}' for n in some}
        folder_of(tmp_path / "set", {f"{name}.tar": tar_of(files)})
    made = ingested(tmp_path / "set", tmp_path / "out")
    assert made.facts.labels == ()
    assert splits(made) == ["train"] * 9 + ["val"] * 2
    assert made.report_lines() == []


# What folders tell


def test_a_picture_beside_the_class_folders_has_no_label(tmp_path: Path) -> None:
    files = images("{label}/{n}.png") | {"preview.png": png(50)}
    made = ingested(as_zip(tmp_path, files), tmp_path / "out")
    assert made.facts.labels == ("cat", "dog")
    assert made.pack.labels.tolist() == [0] * 6 + [1] * 6 + [-1]
    assert [warning.code for warning in made.facts.warnings] == ["rows_without_label"]


def test_folders_of_parts_and_of_masks_are_asked_about(tmp_path: Path) -> None:
    files = {f"images_{n % 3:03d}/images/{n}.png": png(n) for n in range(12)}
    made = ingested(as_zip(tmp_path, files), tmp_path / "out")
    assert made.facts.labels == ()
    assert [warning.code for warning in made.facts.warnings] == ["folders_no_classes"]
    files = images("images/{n}.png") | {f"masks/{n}.png": png(20 + n) for n in range(12)}
    made = ingested(as_zip(tmp_path, files), tmp_path / "again")
    assert made.facts.labels == ()
    assert "--masks masks" in made.facts.warnings[0].hint


# Odd and hostile contents


def test_damaged_archives_inside_are_lines(tmp_path: Path) -> None:
    whole = tar_of({"0.png": png(0)})
    files = images("{n}.png") | {
        "cut.tar": whole[:600], "cut.tgz": gzip.compress(whole)[:-9], "no.zip": b"PK\3\4 nothing",
        "no.parquet": b"PAR1 nothing", "no.npy": b"\x93NUMPY nothing", "no.tar": b"nothing",
        "objects.npy": npy(np.array([None])), "words.npz": b"",
    }  # fmt: skip
    write_zip(tmp_path / "inner.zip", {"deep.zip": b"PK\3\4", "cat.png": png(50)})
    files["inner.zip"] = (tmp_path / "inner.zip").read_bytes()
    made = ingested(as_tar(tmp_path, files), tmp_path / "out")
    assert made.facts.rows == 13
    reasons = made.report()
    assert reasons.pop("inner/deep.zip") == "wrong_type"
    assert set(reasons) == set(files) - set(images("{n}.png")) - {"inner.zip"}
    assert set(reasons.values()) == {"unreadable"}


def test_an_archive_inside_that_could_escape_or_grow_refuses_the_whole(tmp_path: Path) -> None:
    evil = {"x.zip": "", "y.tar": ""}
    write_zip(tmp_path / "x.zip", {"../evil.png": png(1)})
    (tmp_path / "y.tar").write_bytes(tar_of({"/evil.png": png(1)}))
    for name in evil:
        source = as_folder(
            tmp_path / name[0], images("{n}.png") | {name: (tmp_path / name).read_bytes()}
        )
        with pytest.raises(DataError, match=r"refused: its entry '[./]+evil.png'"):
            ingested(source, tmp_path / "out")
    zeros = gzip.compress(tar_of({"a.png": bytes(4 << 20)}))
    source = as_folder(tmp_path / "bomb", images("{n}.png") | {"z.tar.gz": zeros})
    with pytest.raises(DataError, match="ratio_max"):
        ingested(source, tmp_path / "out")
    big = tar_of({"a.png": bytes(3000)})
    source = as_folder(tmp_path / "sum", images("{n}.png") | {f"{n}.tar": big for n in range(4)})
    with pytest.raises(DataError, match="total_bytes_max"):
        ingested(source, tmp_path / "out", total_bytes_max=11_000)
    five = tar_of({f"{n}.png": b"1" for n in range(5)})
    source = as_folder(tmp_path / "many", images("{n}.png") | {f"{n}.tar": five for n in range(4)})
    with pytest.raises(DataError, match="entries_max is 16"):
        ingested(source, tmp_path / "out", entries_max=16)


@pytest.mark.parametrize("shape", [(96, 128, 3), (20, 30), (9, 9, 1), (8, 8, 4)])
def test_one_image_as_an_array_is_asked_about(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "x.npy", np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match=r"one image\? save \[1, H, W, 3\]"):
        ingested(tmp_path / "x.npy", tmp_path / "out")


def test_stacks_and_single_images_in_a_folder_of_arrays(tmp_path: Path) -> None:
    files = {"grey.npy": npy(PIXELS[0][:, :, 0]), "stack.npy": npy(PIXELS[1:4, :, :, 1])}
    made = ingested(as_folder(tmp_path, files), tmp_path / "out")
    assert made.names() == ["grey.npy", "stack.npy#0", "stack.npy#1", "stack.npy#2"]


def test_labels_that_do_not_fit_their_images_are_not_taken(tmp_path: Path) -> None:
    files = {
        "train_images.npy": npy(PIXELS), "train_labels.npy": npy(np.zeros(5, np.int64)),
        "x.npy": npy(PIXELS[:, ::-1]), "y.npy": npy(np.zeros((12, 14), np.uint8)),
    }  # fmt: skip
    made = ingested(as_folder(tmp_path, files), tmp_path / "out")
    assert made.facts.rows == 24
    assert made.facts.labels == ()
    assert made.report() == {"train_labels.npy": "wrong_type", "y.npy": "wrong_type"}


def test_parquet_rows_without_bytes_and_numbers_without_names(tmp_path: Path) -> None:
    table = pa.table(
        {
            "img": [png(n) for n in range(5)] + [None],
            "label": pa.array([3, 10, 3, -1, None, 3], pa.int32()),
            "split": ["train", "test", "train", "train", "train", "train"],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet", use_dictionary=False)
    made = ingested(tmp_path / "x.parquet", tmp_path / "out")
    assert made.facts.labels == ("3", "10")
    assert made.pack.labels.tolist() == [0, 1, 0, -1, -1]
    assert splits(made) == ["train", "test", "train", "train", "train"]
    assert made.report() == {"x.parquet#5": "empty"}


def test_parquet_that_is_damaged_or_holds_no_images(tmp_path: Path) -> None:
    hf_parquet(tmp_path / "x.parquet", list(range(12)))
    whole = (tmp_path / "x.parquet").read_bytes()
    for length in (8, 200, len(whole) - 1):
        (tmp_path / "cut.parquet").write_bytes(whole[:length])
        with pytest.raises(DataError, match="cannot be read"):
            ingested(tmp_path / "cut.parquet", tmp_path / "out")
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "y.parquet")
    with pytest.raises(DataError, match="no column of images"):
        ingested(tmp_path / "y.parquet", tmp_path / "out")


def test_a_parquet_value_repeated_many_times_takes_its_memory_once(tmp_path: Path) -> None:
    """One picture of a megabyte, 3,000 times: a dictionary of a few bytes a row."""
    noise = png(0, height=600, width=600)
    table = pa.table({"image": pa.array([noise] * 3000, pa.binary()).dictionary_encode()})
    pq.write_table(table, tmp_path / "x.parquet")
    assert (tmp_path / "x.parquet").stat().st_size < 2 * len(noise)
    before = pa.total_allocated_bytes()
    from trainer.data.labels.classes import ClassNames
    from trainer.data.readers.parquet import parquet_items
    from trainer.data.readers.regions import open_region
    from trainer.modalities.image.ingest import IMAGE_FORMATS

    most = 0
    with open_region(tmp_path / "x.parquet") as region:
        for number, _ in enumerate(
            parquet_items(region, Limits(), formats=IMAGE_FORMATS, classes=ClassNames())
        ):
            most = max(most, pa.total_allocated_bytes() - before)
            if number > 200:
                break
    assert most < 40 * len(noise)
