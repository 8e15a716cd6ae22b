"""Jobs that users start, pause, resume and cancel, in real worker processes."""

import io
import json
import zipfile

import pytest
from PIL import Image

from tests.support.data.images import encoded
from tests.support.data.tiny_pack import blobs
from tests.support.service.redis import new_job
from tests.support.system.processes import wait_until
from tests.support.worker.stack import Stack
from tests.system.conftest import Golden
from trainer.schema.events import Started, Stepped


def zip_of_images(rows: int) -> bytes:
    images, labels = blobs(rows, side_px=8, classes=4)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for row, (image, label) in enumerate(zip(images, labels, strict=True)):
            archive.writestr(f"{'abcd'[label]}/{row:03d}.png", encoded(Image.fromarray(image)))
    return data.getvalue()


def test_from_an_archive_to_an_encoder(stack: Stack) -> None:
    """Ingest, train, publish: each step's record, files and events."""
    dataset_id, ingest_id = stack.ingest(zip_of_images(60))
    stack.wait_for(ingest_id, "succeeded", "failed")
    dataset = stack.store.datasets.get(dataset_id)
    assert (dataset.status, dataset.message) == ("ready", "")
    assert dataset.facts
    assert dataset.pack
    assert (dataset.facts.rows, dataset.facts.labels) == (60, ("a", "b", "c", "d"))
    upload = stack.data_dir / "datasets" / dataset_id / "upload.part"
    wait_until(lambda: not upload.exists(), 5.0, "the upload is removed once its end is on record")

    stack.packs[dataset.pack] = dataset.facts
    job_id = stack.submit(dataset.pack, epochs=2, batch_rows=16, signals_every_steps=2)
    job = stack.wait_for(job_id, "succeeded", "failed")
    assert (job.status, job.message) == ("succeeded", "")
    sums = {file.name: file.sha256 for file in job.artifacts}
    assert stack.artifacts(job) == sums
    assert {"encoder.safetensors", "config.json", "README.md", "atlas.png"} <= sums.keys()

    kinds = [event.type for event in stack.events(job_id)]
    assert kinds[0] == "started"
    assert kinds[-2:] == ["published", "ended"]
    assert "knn_top1" in job.progress["signals"]
    attempt = stack.data_dir / job.folder / "attempts" / "1"
    assert json.loads((attempt / "result.json").read_text())["outcome"] == "succeeded"
    assert (attempt / "log.txt").stat().st_mode & 0o077 == 0
    log = (attempt / "log.txt").read_text().splitlines()
    assert log[0].startswith("started      60 rows on cpu")
    assert log[-1].startswith("ended        succeeded")
    wait_until(lambda: len(list((attempt / "checkpoints").iterdir())) == 1, 5.0)
    (only,) = (attempt / "checkpoints").iterdir()
    assert job.checkpoint == str(only.relative_to(stack.data_dir))
    (row,) = stack.store.jobs.attempts(job_id)
    assert row.outcome == "succeeded"


def test_pause_keeps_every_step_and_resume_goes_on(stack: Stack, golden: Golden) -> None:
    job_id = golden.submit(stack)
    stack.wait_for_step(job_id, 25)
    stack.store.jobs.pause(job_id)
    paused = stack.wait_for(job_id, "paused", "failed", "succeeded")
    assert (paused.status, paused.checkpoint_step) == ("paused", paused.progress["step"])
    stack.store.jobs.resume(job_id)
    golden.check(stack, stack.wait_for(job_id, "succeeded", "failed"))
    events = stack.events(job_id)
    assert [e.step for e in events if isinstance(e, Started)] == [0, paused.checkpoint_step]
    steps = [e.step for e in events if isinstance(e, Stepped)]
    assert steps == list(range(1, golden.steps + 1))


def test_cancel_is_heard_at_once(stack: Stack, golden: Golden) -> None:
    job_id = golden.submit(stack)
    stack.wait_for_step(job_id, 5)
    stack.store.jobs.cancel(job_id)
    took_s = wait_until(lambda: stack.store.jobs.get(job_id).status == "cancelled", 10.0)
    assert took_s < 5.0
    assert stack.store.jobs.attempts(job_id)[0].outcome == "released"


def test_a_running_job_is_on_its_workers_metrics(stack: Stack, golden: Golden) -> None:
    job_id = golden.submit(stack)
    stack.wait_for_step(job_id, 12)
    key = (stack.data_dir / "api.key").read_text().strip()
    owner, labels = stack.owner(job_id), f'{{job_id="{job_id}"}}'
    # The checkpoint of step 10 is written while the training goes on.
    saved = f"moco_train_last_checkpoint_timestamp_seconds{labels}"
    wait_until(lambda: saved in owner.metrics(key), 10.0, saved)
    shown = owner.metrics(key)
    stack.store.jobs.cancel(job_id)
    for name in ("loss", "steps_total", "queue_size"):
        assert f"moco_train_{name}{labels}" in shown
    stack.wait_for(job_id, "cancelled")


def test_a_users_failure_is_told_and_not_tried_again(stack: Stack, golden: Golden) -> None:
    """A learning rate that diverges: one attempt, the reason and the hint in the record."""
    job_id = stack.submit(
        golden.pack, epochs=50, batch_rows=16, optim={"name": "sgd", "lr": 1e12}, evaluation=None
    )
    job = stack.wait_for(job_id, "failed", "succeeded")
    assert (job.status, job.code, job.attempt) == ("failed", "nonfinite_loss", 1)
    assert "lr" in job.hint
    assert "Traceback" not in job.message


def test_a_dataset_whose_bytes_are_gone_is_named(stack: Stack) -> None:
    pack = stack.add_pack("gone", rows=32)
    for file in (stack.data_dir / pack).iterdir():
        file.unlink()
    job = stack.wait_for(stack.submit(pack, epochs=1), "failed", "succeeded")
    assert (job.code, job.attempt) == ("dataset_missing", 1)


@pytest.mark.parametrize("spec_json", ['{"dataset":"x","no_such_field":1}', "not json"])
def test_a_spec_of_another_version_fails_in_words(stack: Stack, spec_json: str) -> None:
    new = new_job(resolved_json=spec_json, folder=f"jobs/odd-{len(spec_json)}")
    job_id = stack.store.jobs.submit(new, job_id=f"job_odd_{len(spec_json)}").job_id
    job = stack.wait_for(job_id, "failed")
    assert (job.code, job.attempt) == ("bad_spec", 1)
