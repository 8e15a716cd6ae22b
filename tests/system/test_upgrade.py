"""A data folder of the version before stamps: it opens, and its jobs go on where they were."""

import json
from pathlib import Path

from service.ledger.audit import audit
from service.ledger.stamp import FILE, LAYOUT
from service.ledger.store_identity import ensure_identity
from tests.support.service.old_data_folder import (
    ARTIFACT,
    DATASET,
    DONE,
    ROWS,
    RUNNING,
    SAVED_STEP,
    STEPS,
    write_old_folder,
)
from tests.support.worker.stack import running_stack
from trainer.schema.events import Started, Stepped


def test_an_old_folder_opens_and_its_jobs_go_on(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    write_old_folder(data_dir)
    with running_stack(data_dir) as stack:
        assert ensure_identity(stack.store, data_dir).damaged == ()
        assert json.loads((data_dir / FILE).read_bytes())["layout"] == LAYOUT
        dataset, done = stack.store.datasets.get("made-up"), stack.store.jobs.get(DONE)
        assert (dataset.id, dataset.status) == (DATASET, "ready")
        assert dataset.facts is not None
        assert dataset.facts.rows == ROWS
        assert done.status == "succeeded"
        assert (data_dir / str(done.artifacts_folder) / "encoder.pth").read_bytes() == ARTIFACT
        stack.need_workers(1)
        job = stack.wait_for(RUNNING, "succeeded", timeout_s=180.0)
        events = stack.events(RUNNING)
        (started,) = (event for event in events if isinstance(event, Started))
        steps = [event.step for event in events if isinstance(event, Stepped)]
        assert audit(stack.store, data_dir, deep=True).findings == ()
    assert job.attempt == 2
    assert started.step == SAVED_STEP
    assert (started.exact, started.differs) == (False, ("code",)), "the reason is named"
    assert steps == list(range(SAVED_STEP + 1, STEPS + 1))
