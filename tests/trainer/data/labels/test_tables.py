"""Tables, annotations and masks beside the pictures."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.data.images import encoded, png
from tests.support.data.ingest import ingested
from tests.support.data.labelled_archives import (
    CARRIERS,
    CLASSES,
    PIXELS,
    SPLITS,
    as_zip,
    images,
    numbers,
    splits,
)

ROWS_CSV = "file,label,split,sequence,time,pair,mask\n" + "".join(
    f"pics/{n}.png,{CLASSES[n]},{SPLITS[n]},cam{n % 3},{n / 2},{n // 2},pics/m{n}.png\n"
    for n in range(12)
)
ROWS_JSONL = "".join(
    json.dumps({"file_name": f"pics/{n}.png", "label": CLASSES[n], "split": SPLITS[n],
                "sequence": f"cam{n % 3}", "time": n / 2, "pair": n // 2,
                "mask": f"pics/m{n}.png"}) + "\n"
    for n in range(12)
)  # fmt: skip
MASK_FILES = {
    f"pics/m{n}.png": encoded(Image.fromarray(np.ascontiguousarray(PIXELS[n][:, :, 0])))
    for n in range(12)
}


@pytest.mark.parametrize("carrier", CARRIERS.values())
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.csv", ROWS_CSV), ("metadata.csv", ROWS_CSV.replace("file,", "file_name,", 1)),
        ("rows.jsonl", ROWS_JSONL), ("metadata.jsonl", ROWS_JSONL),
        ("rows.csv", ROWS_CSV.replace(",", ";")), ("ROWS.CSV", "\ufeff" + ROWS_CSV),
    ],
)  # fmt: skip
def test_a_table_beside_the_files_tells_of_each_row(
    tmp_path: Path, name: str, text: str, carrier: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    files = {name: text.encode()} | images("pics/{n}.png") | MASK_FILES
    made = ingested(carrier(tmp_path, files), tmp_path / "out")
    assert made.report_lines() == []
    rows = numbers(made)
    assert sorted(rows) == list(range(12))
    assert made.label_names() == [CLASSES[n] for n in rows]
    assert splits(made) == [SPLITS[n] for n in rows]
    assert made.pack.time is not None
    assert made.pack.time.tolist() == [n / 2 for n in rows]
    assert made.pack.sequence is not None
    names = made.pack.sequence_names()
    assert [names[place] for place in made.pack.sequence] == [f"cam{n % 3}" for n in rows]
    assert made.pack.pair is not None
    pair, of_table = made.pack.pair, np.array(rows) // 2
    assert ((pair[:, None] == pair) == (of_table[:, None] == of_table)).all()
    assert (made.pack.facts.timed_rows, made.pack.facts.paired_rows) == (12, 12)
    for row, n in enumerate(rows):
        mask = made.pack.mask(row)
        assert mask is not None
        assert np.array_equal(mask, PIXELS[n][:, :, 0])


@pytest.mark.parametrize("carrier", CARRIERS.values())
def test_what_a_table_and_the_files_disagree_on_is_reported(
    tmp_path: Path, carrier: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    table = (
        "file,label,split,time\n0.png,cat,train,1\n1.png,dog,sometimes,noon\nlost.png,dog,,\n"
        "../../etc/passwd,dog,,\n,,,\n"
    )
    files = {"a/0.png": png(0), "a/1.png": png(1), "a/2.png": png(2), "a/rows.csv": table.encode()}
    made = ingested(carrier(tmp_path, files | {"b/3.png": png(3)}), tmp_path / "out")
    assert made.names() == ["a/0.png", "a/1.png", "b/3.png"]
    lines = [(line["name"], line["reason"]) for line in made.report_lines()]
    assert sorted(lines) == [
        ("a/2.png", "unlisted"),
        ("a/rows.csv:3", "bad_cell"), ("a/rows.csv:3", "bad_cell"),
        ("a/rows.csv:4", "missing_file"), ("a/rows.csv:5", "missing_file"),
        ("a/rows.csv:6", "missing_file"),
    ]  # fmt: skip
    assert all(line["detail"] for line in made.report_lines())


@pytest.mark.parametrize("header", ["", "id,breed\n", "file,label\n"])
@pytest.mark.parametrize("suffix", [".png", ""])
def test_labels_of_two_columns(tmp_path: Path, header: str, suffix: str) -> None:
    """Files that it does not name stay rows, without a label."""
    lines = "".join(f"{n}{suffix},{CLASSES[n]}\n" for n in range(1, 12))
    files = images("pics/{n}.png") | {"labels.csv": (header + lines).encode()}
    made = ingested(as_zip(tmp_path, files), tmp_path / "out")
    assert made.report_lines() == []
    found = dict(zip(numbers(made), made.pack.labels, strict=True))
    assert made.facts.labels == ("cat", "dog")
    assert found == {n: ["cat", "dog"].index(CLASSES[n]) if n else -1 for n in range(12)}


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"name,label\n0.png,cat\n", "file_name"), (b"\xff\xfe", "UTF-8"), (b"", "file_name"),
        (b"file,label\n\"" + os.urandom(1 << 20).hex().encode(), "field"),
        (b"file,file\na,b\n", "twice"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_is_a_line(tmp_path: Path, data: bytes, word: str) -> None:
    files = images("{label}/{n}.png") | {"metadata.csv": data}
    made = ingested(as_zip(tmp_path, files), tmp_path / "out")
    assert made.facts.rows == 12
    (line,) = made.report_lines()
    assert (line["name"], line["reason"]) == ("metadata.csv", "unreadable")
    assert word in line["detail"]


def coco(some: list[int], pattern: str = "{n}.png") -> bytes:
    return json.dumps(
        {
            "images": [{"id": n, "file_name": pattern.format(n=n)} for n in some],
            "annotations": [
                {"id": 2 * n + k, "image_id": n, "category_id": 7 if CLASSES[n] == "cat" else 9}
                for n in some
                for k in range(2)
            ],
            "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
        }
    ).encode()


@pytest.mark.parametrize("carrier", CARRIERS.values())
def test_coco_tells_the_class_of_images_with_one(
    tmp_path: Path, carrier: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    train = [n for n in range(12) if SPLITS[n] == "train"]
    val = [n for n in range(12) if SPLITS[n] == "val"]
    mixed = json.loads(coco(train))
    mixed["annotations"].append({"id": 99, "image_id": train[0], "category_id": 9})
    mixed["images"].append({"id": 100, "file_name": "lost.png"})
    files = {
        "annotations/instances_train2017.json": json.dumps(mixed).encode(),
        "annotations/instances_val2017.json": coco(val),
        "annotations/licence.json": b"[1, 2]",
    }
    files |= {f"train2017/{n}.png": png(n) for n in train}
    files |= {f"val2017/{n}.png": png(n) for n in val}
    made = ingested(carrier(tmp_path, files), tmp_path / "out")
    rows = numbers(made)
    labels = [made.facts.labels[label] if label >= 0 else None for label in made.pack.labels]
    assert labels == [CLASSES[n] if n != train[0] else None for n in rows]
    assert splits(made) == [SPLITS[n] for n in rows]
    assert made.report() == {
        "annotations/instances_train2017.json": "missing_file",
        "annotations/licence.json": "wrong_type",
    }


# Masks


@pytest.mark.parametrize("carrier", CARRIERS.values())
def test_a_folder_of_masks_beside_the_images(
    tmp_path: Path, carrier: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    masks = {f"masks/{CLASSES[n]}/{n}.png": MASK_FILES[f"pics/m{n}.png"] for n in range(11)}
    files = images("images/{label}/{n}.png") | masks | {"masks/cat/lost.png": png(77)}
    made = ingested(carrier(tmp_path, files), tmp_path / "out", masks="masks")
    rows = numbers(made)
    assert sorted(rows) == list(range(12))
    assert made.label_names() == [CLASSES[n] for n in rows]
    for row, n in enumerate(rows):
        expected = PIXELS[n][:, :, 0] if n < 11 else np.zeros((12, 12))
        assert np.array_equal(made.pack.mask(row), expected)  # type: ignore[arg-type]
    assert made.report() == {"masks/cat/lost.png": "missing_file"}


def test_a_row_whose_mask_cannot_be_used_has_none(tmp_path: Path) -> None:
    files = images("images/{n}.png") | {"masks/0.png": png(50, height=9), "masks/1.png": b"text"}
    colored = np.zeros((12, 12, 3), np.uint8)
    colored[:6, :, 1] = 255
    files["masks/2.png"] = encoded(Image.fromarray(colored))
    files["masks/3.png"] = encoded(Image.fromarray(np.full((12, 12), 300, np.uint16)))
    files["masks/4.png"] = encoded(Image.fromarray(np.full((12, 12, 4), 9, np.uint8)))
    made = ingested(as_zip(tmp_path, files), tmp_path / "out", masks="masks")
    assert made.report() == {f"images/{n}.png": "bad_mask" for n in range(4)}
    details = {line["name"]: line["detail"] for line in made.report_lines()}
    for n, words in enumerate(["another size", "no picture", "it has colors", "outside 0 to 255"]):
        assert words in details[f"images/{n}.png"]
        assert details[f"images/{n}.png"].endswith("the row has none")
    assert (made.facts.rows, made.facts.bad_files, made.facts.masked_rows) == (12, 0, 1)
    (row,) = made.pack.masked_rows()
    assert np.array_equal(made.pack.mask(row), np.full((12, 12), 9))  # type: ignore[arg-type]


@pytest.mark.parametrize(("values", "warned"), [(16, False), (17, True)])
def test_masks_with_the_values_of_a_photo_are_warned_of(
    values: int, warned: bool, tmp_path: Path
) -> None:
    mask = (np.arange(144) % values).astype(np.uint8).reshape(12, 12)
    files = images("images/{n}.png") | {"masks/0.png": encoded(Image.fromarray(mask))}
    made = ingested(as_zip(tmp_path, files), tmp_path / "out", masks="masks")
    found = [one.message for one in made.facts.warnings if one.code == "mask_values"]
    assert [text.startswith("Masks have 17 different values") for text in found] == [True] * warned


def test_masks_are_shrunk_with_their_rows(tmp_path: Path) -> None:
    mask = np.zeros((64, 96), np.uint8)
    mask[:, 48:] = 200
    files = {f"images/{n}.png": png(n, height=64, width=96) for n in range(2)}
    files |= {f"masks/{n}.png": encoded(Image.fromarray(mask)) for n in range(2)}
    made = ingested(as_zip(tmp_path, files), tmp_path / "out", masks="masks", side_px_max=32)
    assert np.array_equal(made.pack.mask(0), mask[::2, ::2])  # type: ignore[arg-type]
