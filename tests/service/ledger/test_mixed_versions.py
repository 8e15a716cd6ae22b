"""Two versions write to one data folder: what the other one adds is kept, and never loses a job."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.datasets.ingest_jobs import prepare
from service.ids import new_id
from service.ledger.audit import audit
from service.ledger.entries import ATTEMPT_LINE, JOB_LINE, LEDGER, VERSION, encode
from service.ledger.ledger_reader import parse
from service.ledger.reconcile import reconcile
from service.ledger.store_identity import ensure_identity
from service.store.records import NewDataset
from service.store.store import Store
from service.store.store_errors import Misconfigured
from tests.support.service.job_lives import World

MORE = {"colour": "blue", "nested": {"of": ["a", "newer", "version"]}}


@pytest.fixture
def world(redis_store: Store, tmp_path: Path) -> World:
    """A dataset that is ready, a job that succeeded, one that runs, one that waits."""
    world = World(redis_store, tmp_path)
    dataset_id = new_id("ds")
    made = world.journal.create_dataset_once(
        NewDataset(dataset_id=dataset_id, name="digits", size_bytes=3)
    ).record
    world.journal.set_uploaded(dataset_id, size_bytes=3, sha256="0" * 64)
    prepare(world.journal, made, source=f"datasets/{dataset_id}/upload.part")
    ingest = world.claim("ingest")
    assert ingest is not None
    world.complete(ingest.job_id)
    done, runs, _waits = (world.submit(key=f"key-{n}") for n in range(3))
    for job_id in (done, runs):
        world.claim()
        world.checkpoint(job_id, 10)
    world.complete(done)
    return world


def ledgers(data_dir: Path) -> Iterator[Path]:
    yield from sorted(data_dir.glob(f"*/*/**/{LEDGER}"))


def with_more(row: bytes) -> bytes:
    """The line as a newer version would have written it: with a field more at each level."""
    line: dict[str, Any] = json.loads(row)
    line |= MORE
    for name in ("artifacts",):
        line[name] = [one | MORE for one in line.get(name, [])] or line.get(name, [])
    if "options" in line:
        line["options"] |= MORE
    if line.get("facts_json"):
        line["facts_json"] = json.dumps(json.loads(line["facts_json"]) | MORE)
    return json.dumps({name: value for name, value in line.items() if value != []}).encode()


def test_lines_with_more_fields_are_read_and_kept(world: World) -> None:
    jobs = {one.id: one.status for one in world.store.jobs.list().data}
    for path in ledgers(world.data_dir):
        path.write_bytes(b"".join(with_more(row) + b"\n" for row in path.read_bytes().splitlines()))
    written = {path: path.read_bytes() for path in ledgers(world.data_dir)}
    world.wipe()
    report = reconcile(world.store, world.data_dir)
    assert report.damaged == ()
    found = {one.id: one.status for one in world.store.jobs.list().data}
    assert found == {id: "queued" if was == "running" else was for id, was in jobs.items()}
    facts = world.store.datasets.get("digits").facts
    assert facts is not None
    assert facts.model_extra == MORE
    assert {path: path.read_bytes() for path in ledgers(world.data_dir)} == written
    assert [
        one.what for one in audit(world.store, world.data_dir).findings if one.what != "bad_pack"
    ] == []


def test_a_line_that_is_read_and_written_again_keeps_every_field(world: World) -> None:
    for path in ledgers(world.data_dir):
        kind: Any = ATTEMPT_LINE if "attempts" in path.parts else JOB_LINE
        rows = [with_more(row) for row in path.read_bytes().splitlines()]
        lines, damaged = parse(b"".join(row + b"\n" for row in rows), kind)
        assert damaged == ()
        for row, line in zip(rows, lines, strict=True):
            assert json.loads(row).items() <= json.loads(encode(line)).items()


@pytest.mark.parametrize("kind", ["refused", "of_tomorrow"])
def test_a_ledger_that_forbids_older_readers_is_refused_in_words(world: World, kind: str) -> None:
    """Also by the kind of a line that is not known here; nothing is made of the others."""
    path = next(path for path in ledgers(world.data_dir) if "jobs" in path.parts)
    with path.open("ab") as ledger:
        line = {"type": kind, "op": "x", "version": VERSION + 1}
        ledger.write(json.dumps(line).encode() + b"\n")
    world.wipe()
    with pytest.raises(Misconfigured, match=f"has version {VERSION + 1}; .* Start the newer"):
        ensure_identity(world.store, world.data_dir)
    assert world.store.jobs.list().data == ()


def test_lines_from_before_there_were_versions_are_of_the_first() -> None:
    (line,), damaged = parse(b'{"type":"refused","op":"x"}\n', JOB_LINE)
    assert (line.version, damaged) == (1, ())
