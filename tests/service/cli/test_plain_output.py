"""Names from before control characters were refused: no command lets a terminal obey them."""

import json

import pytest

from mocoserve.plain_text import UNSAFE
from service.ids import new_id
from service.store.records import NewDataset
from tests.support.client.moco_command import Moco
from tests.support.service.api import RunningApi, finished_job, queued_job, running_job

EVIL = "\x1b]0;owned\x07 \x1b[31mred\x9b2J\u202egnp.exe\u2066"


@pytest.fixture
def job(api: RunningApi) -> str:
    """A failed job whose name, dataset, labels and reason are hostile, with such a log."""
    lease = running_job(api.store, name=EVIL, inputs={"dataset": EVIL})
    folder = api.data_dir / lease.folder / "attempts" / "1"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text(f"one {EVIL}\ntwo\n")
    rows = [json.dumps({"type": "logged", "level": "info", "message": EVIL})]
    api.store.queue.append(lease, rows, {})
    api.store.queue.fail(lease, code="nonfinite_loss", message=EVIL, hint=EVIL, retry=False)
    return lease.job_id


def test_no_command_prints_what_a_terminal_obeys(moco: Moco, api: RunningApi, job: str) -> None:
    api.store.datasets.create(NewDataset(dataset_id=new_id("ds"), name=f"a{EVIL}"))
    other = queued_job(api.store, name=EVIL)
    succeeded = finished_job(api, {"encoder.safetensors": b"x"})
    for arguments in (
        *(("jobs",), ("show", job), ("watch", job), ("logs", job), ("show", other)),
        *(("compare", job, succeeded), ("dataset", "ls"), ("dataset", "show", f"a{EVIL}")),
        *(("submit", "-d", EVIL), ("submit", "-d", "x", "--name", EVIL), ("cancel", EVIL)),
        *(("workers",), ("download", job), ("watch", EVIL)),
    ):
        for more in ((), ("--json",)):
            result = moco(*arguments, *more)
            printed = (result.stdout + result.stderr).replace("\n", "").replace("\t", "")
            found = UNSAFE.search(printed)
            assert found is None, (arguments, more, printed[max(0, found.start() - 40) :][:80])


def test_what_is_written_out_can_be_read(moco: Moco, job: str) -> None:
    assert "\\x1b[31mred" in moco("show", job).stdout
    assert "two" in moco("logs", job).stdout
    assert json.loads(moco("show", job, "--json").stdout)["name"] == EVIL
