"""Neighbours from end to end: real digits, a real encoder, API, store and worker."""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mocoserve.client import Client
from mocoserve.errors import ApiError
from mocoserve.probes import Probe
from tests.support.service.api import KEY, RunningApi, running_api
from tests.support.system.processes import wait_until
from tests.support.worker.stack import Stack
from trainer.demo.digits import enlarged, file_name, images

ROWS = 200


@dataclass(frozen=True)
class World:
    """A stack with an API before it, and a job that has ended well."""

    stack: Stack
    api: RunningApi
    client: Client
    job: str

    def ask(
        self, image: Path | None = None, *, k: int = 10, checkpoint: int | None = None
    ) -> Probe:
        made = self.client.probes.create(self.job, image, k=k, checkpoint=checkpoint)
        return self.client.probes.wait(self.job, made.id, timeout_s=60.0)

    def table(self) -> tuple[list[str], list[str], np.ndarray]:
        """Names, labels and features, as a user downloads them."""
        at = f"/v1/jobs/{self.job}/artifacts/embeddings.parquet"
        found = pq.read_table(io.BytesIO(self.api.client.get(at).content))
        values = np.stack(found["embedding"].to_numpy()).astype(np.float64)
        return found["name"].to_pylist(), found["label"].to_pylist(), values


def digits() -> dict[str, bytes]:
    pixels, labels = images()
    files = {}
    for row in range(ROWS):
        png = io.BytesIO()
        enlarged(pixels[row]).save(png, "PNG")
        files[file_name(row, int(labels[row]))] = png.getvalue()
    return files


@pytest.fixture(scope="module")
def world(shared_stack: Stack) -> Iterator[World]:
    shared_stack.need_workers(1)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in digits().items():
            archive.writestr(name, data)
    with (
        running_api(
            shared_stack.redis.url, shared_stack.data_dir, tick_s=0.2, lease_ttl_ticks=8
        ) as api,
        Client(api.url, KEY) as client,
    ):
        made = api.client.post("/v1/datasets", json={"name": "probed"}).json()
        api.client.put(f"/v1/datasets/{made['id']}/content", content=packed.getvalue())
        wait_until(lambda: client.datasets.get("probed").status == "ready", 60.0)
        spec = {
            "dataset": "probed",
            "encoder": {"name": "small"},
            "epochs": 3,
            "batch_rows": 32,
            "evaluation": None,
            "checkpoint_every_steps": 6,
        }
        job = api.client.post("/v1/jobs", json=spec).json()["id"]
        shared_stack.wait_for(job, "succeeded", timeout_s=120.0)
        yield World(shared_stack, api, client, job)


def test_neighbours_are_those_of_the_table_that_is_downloaded(world: World) -> None:
    names, labels, values = world.table()
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    similar = unit @ unit.T
    done = world.ask(k=20)
    assert done.result is not None, done.status_reason
    assert done.result.note == f"All {ROWS} images were searched."
    assert len(done.result.probes) == 8
    assert len({probe.label for probe in done.result.probes}) == 8
    for probe in done.result.probes:
        assert probe.row is not None
        line = np.delete(similar[probe.row], probe.row)
        expected = np.sort(line)[::-1][:20]
        assert [one.similarity for one in probe.neighbours] == pytest.approx(expected, abs=2e-5)
        for one in probe.neighbours:
            assert one.row != probe.row
            assert (one.name, one.label) == (names[one.row], labels[one.row])
            assert one.similarity == pytest.approx(similar[probe.row, one.row], abs=2e-5)
    with Image.open(io.BytesIO(world.client.probes.sheet(done))) as sheet:
        assert sheet.format == "PNG"


def test_an_image_of_ones_own_finds_itself(world: World, tmp_path: Path) -> None:
    names, _, _ = world.table()
    (tmp_path / "mine.png").write_bytes(digits()[names[77]])
    done = world.ask(tmp_path / "mine.png", k=5)
    assert done.result is not None, done.status_reason
    (probe,) = done.result.probes
    assert probe.neighbours[0].row == 77
    assert probe.neighbours[0].similarity == pytest.approx(1.0, abs=1e-4)


def test_a_checkpoint_answers_too(world: World) -> None:
    def available() -> list[dict[str, Any]]:
        return [one for one in world.client.jobs.checkpoints(world.job) if one["available"]]

    # The worker removes the older ones once the end is on record.
    wait_until(lambda: len(available()) == 1, 5.0, "one checkpoint stays")
    (kept,) = available()
    done = world.ask(checkpoint=kept["step"], k=3)
    assert done.result is not None, done.status_reason
    assert done.result.checkpoint == kept["step"]
    finished = world.ask(k=3).result
    assert finished is not None
    assert [probe.row for probe in finished.probes] == [probe.row for probe in done.result.probes]


def test_an_image_that_is_none_fails_with_the_next_step(world: World, tmp_path: Path) -> None:
    whole = next(iter(digits().values()))
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    done = world.ask(tmp_path / "cut.png")
    assert done.status == "failed"
    assert done.status_reason is not None
    assert done.status_reason.code == "bad_image"
    assert "cut off" in done.status_reason.message
    assert "PNG" in done.status_reason.hint
    (tmp_path / "words.png").write_text("no picture at all")
    with pytest.raises(ApiError, match="Unsupported media type"):
        world.ask(tmp_path / "words.png")


def test_a_worker_that_dies_in_a_probe_is_replaced(world: World, tmp_path: Path) -> None:
    """Killed when all files are written and none can be seen; the next attempt answers."""
    stack, mark = world.stack, tmp_path / "faults.jsonl"
    for worker in stack.living():
        worker.end()
    stack.start_worker(
        MOCO_FAILPOINTS="worker.pre_complete=SIGKILL@1*1; publish.pre_rename=SIGKILL@1*1",
        MOCO_FAILPOINTS_LOG=str(mark),
        MOCO_POOLS="ingest",
    )
    made = world.client.probes.create(world.job, rows=[1, 2], k=4)
    wait_until(lambda: not stack.living(), 90.0, "the worker kills itself")
    stack.start_worker()
    done = world.client.probes.wait(world.job, made.id, timeout_s=90.0)
    assert done.result is not None, done.status_reason
    record = stack.store.jobs.get(made.id)
    assert record.attempt == 3
    assert mark.read_text().count("\n") == 2
    assert record.artifacts_folder == f"{record.folder}/attempts/3/answer"
    assert not list((stack.data_dir / record.folder).rglob("*.tmp"))
