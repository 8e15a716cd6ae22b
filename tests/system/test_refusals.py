"""Archives that must not become a dataset: each ends with its reason, and never with a trace."""

import io
import json
import struct
import zipfile
from collections.abc import Callable

import pytest

from tests.support.data.images import png
from tests.support.worker.stack import Stack


def zipped(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def images(*names: str) -> dict[str, bytes]:
    return {name: png(number) for number, name in enumerate(names)}


def with_a_way_out() -> bytes:
    return zipped(images("a.png", "../../b.png"))


def bomb() -> bytes:
    """64 MiB of zeros in 64 KiB."""
    return zipped(images("a.png", "b.png") | {"c.png": bytes(64 << 20)})


def overlapping() -> bytes:
    """The directory lists a second entry whose bytes lie inside the first one's."""
    inner = zipped(images("b.png"))
    start, end = inner.index(b"PK\x01\x02"), inner.index(b"PK\x05\x06")
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.png", inner[:start])
    outer = data.getvalue()
    directory, tail = outer.rindex(b"PK\x01\x02"), outer.rindex(b"PK\x05\x06")
    second = bytearray(inner[start:end])
    second[42:46] = struct.pack("<I", 30 + len("a.png"))  # where its local header begins
    size = tail - directory + len(second)
    ending = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 2, 2, size, directory, 0)
    return outer[:tail] + bytes(second) + ending


def truncated() -> bytes:
    return zipped(images("a.png", "b.png", "c.png"))[:-30]


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "a name with ../": (with_a_way_out, "b.png"),
    "a bomb": (bomb, "when unpacked"),
    "overlapping entries": (overlapping, "overlap"),
    "a truncated zip": (truncated, "zip"),
    "an empty zip": (lambda: zipped({}), "no image"),
    "one image": (lambda: zipped(images("a.png")), "only one image"),
    "only text": (lambda: zipped({"a.jpg": b"hello", "b.jpg": b"you"}), "no image"),
    "no bytes": (lambda: b"", "it is empty"),
}


@pytest.fixture(scope="module")
def refused(shared_stack: Stack) -> dict[str, tuple[str, str]]:
    """All of them at once: name of the case -> (dataset, ingest job)."""
    shared_stack.need_workers(1)
    return {name: shared_stack.ingest(make()) for name, (make, _) in REFUSED.items()}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_in_words(
    shared_stack: Stack, refused: dict[str, tuple[str, str]], case: str
) -> None:
    dataset_id, job_id = refused[case]
    job = shared_stack.wait_for(job_id, "failed", "succeeded")
    dataset = shared_stack.store.datasets.get(dataset_id)
    assert (job.status, job.code, job.attempt) == ("failed", "bad_dataset", 1)
    assert (dataset.status, dataset.code, dataset.pack) == ("failed", "bad_dataset", None)
    assert REFUSED[case][1] in dataset.message
    assert dataset.hint
    assert "Traceback" not in dataset.message + dataset.hint
    folder = shared_stack.data_dir / job.folder / "attempts" / "1"
    left = {path.name for path in folder.iterdir()} - {"report.jsonl"}  # where a file was read
    assert left == {"ledger.jsonl", "log.txt", "result.json", "spec.json"}


def test_a_text_among_images_is_reported_and_the_others_stay(stack: Stack) -> None:
    files = images("a.png", "b.png", "c.png") | {"notes.jpg": b"not an image"}
    dataset_id, job_id = stack.ingest(zipped(files))
    stack.wait_for(job_id, "succeeded", "failed")
    dataset = stack.store.datasets.get(dataset_id)
    assert dataset.status == "ready"
    assert dataset.pack
    assert dataset.facts
    assert (dataset.facts.rows, dataset.facts.bad_files) == (3, 1)
    report = (stack.data_dir / dataset.pack / "report.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in report] == ["notes.jpg"]
