"""`moco dataset rm | rename | add --replace` and `moco workers drain | undrain`."""

import json
from pathlib import Path

import pytest

from tests.service.cli.commands.test_dataset import archive
from tests.support.client.moco_command import Moco, answer
from tests.support.service.api import RunningApi, queued_job, ready_dataset
from tests.support.service.redis import worker


def test_rm_asks_first_and_without_a_terminal_the_answer_is_no(moco: Moco, api: RunningApi) -> None:
    id = ready_dataset(api.store, "asked").id
    result = moco("dataset", "rm", "asked")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--yes" in result.stderr
    assert api.store.datasets.get("asked").id == id


def test_rm_deletes_several_and_says_what_is_free(moco: Moco, api: RunningApi) -> None:
    ids = [ready_dataset(api.store, f"many-{n}").id for n in range(3)]
    result = moco("dataset", "rm", "many-0", ids[1], "--yes")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("deleted") == 2
    told = answer(moco("dataset", "rm", "many-2", "--yes", "--json"))
    assert told["data"] == [{"id": ids[2], "object": "dataset", "deleted": True}]
    assert not {one.id for one in api.store.datasets.list(limit=100).data} & set(ids)
    assert moco("dataset", "rm", "many-0", "--yes").exit_code == 102


def test_rm_names_the_jobs_that_need_it(moco: Moco, api: RunningApi) -> None:
    job = queued_job(api.store, dataset_id=ready_dataset(api.store, "busy").id)
    result = moco("dataset", "rm", "busy", "--yes")
    assert result.exit_code == 1
    assert job in result.stderr
    assert "cancel" in result.stderr
    problem = json.loads(moco("dataset", "rm", "busy", "--yes", "--json").stderr)
    assert problem["jobs"] == [job]


def test_rename(moco: Moco, api: RunningApi) -> None:
    id = ready_dataset(api.store, "old-name").id
    assert moco("dataset", "rename", "old-name", "new-name").stdout == f"{id} renamed to new-name\n"
    assert moco("dataset", "show", "old-name").exit_code == 102
    other = ready_dataset(api.store, "third-name").id
    taken = moco("dataset", "rename", other, "new-name")
    assert (taken.exit_code, api.store.datasets.get("new-name").id) == (1, id)


@pytest.mark.usefixtures("ingests")
def test_add_replace_makes_a_version_that_takes_the_name(
    moco: Moco, api: RunningApi, tmp_path: Path
) -> None:
    old = ready_dataset(api.store, "growing").id
    path = str(archive(tmp_path / "more.zip"))
    refused = moco("dataset", "add", path, "--name", "growing")
    assert refused.exit_code == 1
    assert "--replace" in refused.stderr
    result = moco("dataset", "add", path, "--name", "growing", "--replace", "--json")
    assert result.exit_code == 0, result.output
    new = answer(result)["id"]
    assert api.store.datasets.get("growing").id == new != old
    assert "(growing)" in moco("dataset", "ls").stdout
    assert "not current" in moco("dataset", "show", old).stdout
    again = answer(moco("dataset", "add", path, "--name", "growing", "--replace", "--json"))
    assert again["id"] == new, "the same bytes are there already"


def test_workers_are_drained_and_undrained(moco: Moco, api: RunningApi) -> None:
    api.store.workers.beat(worker(id="w-1"))
    assert "no new jobs" in moco("workers", "drain", "w-1").stdout
    assert api.store.workers.list()[0].state == "draining"
    assert "jobs again" in moco("workers", "undrain", "w-1").stdout
    assert answer(moco("workers", "undrain", "w-1", "--json"))["state"] == "idle"
    assert moco("workers", "undrain", "nobody").exit_code == 102
    for wrong in (("undrain",), ("stop", "w-1")):
        assert moco("workers", *wrong).exit_code == 2


def test_workers_show_their_slots_jobs_and_broken_gpus(moco: Moco, api: RunningApi) -> None:
    jobs = ("job_1", "job_2")
    api.store.workers.beat(worker(id="w-8", state="busy", jobs=jobs, slots=8, slots_busy=5))
    (row,) = [line for line in moco("workers").stdout.splitlines() if "w-8" in line]
    assert {"5/8", "job_1,job_2"} <= set(row.split())
    api.store.workers.beat(worker(id="w-8", info={"drained": {"GPU-a": "Xid 79."}}))
    told = moco("workers").stderr
    assert "w-8: GPU-a takes no more jobs after two device errors in a row: Xid 79." in told
    assert "`moco workers undrain w-8`" in told
    api.store.workers.leave("w-8")


def test_doctor_says_what_helps(moco: Moco, api: RunningApi, tmp_path: Path) -> None:
    """Not `moco up` where that runs already, and for a drained worker how it is undrained."""
    api.store.workers.leave("w-1")
    api.store.workers.beat(worker(id="w-2", pools=("train",)))
    api.store.workers.drain("w-2")
    told = moco("doctor").stderr
    assert "moco workers undrain w-2" in told
    folder = tmp_path / "up"
    folder.mkdir()
    (folder / "server.json").write_text(json.dumps({"url": api.url, "pid": 1}))
    told = moco("doctor", MOCO_DATA_DIR=str(folder)).stderr
    lines = [line for line in told.splitlines() if "MOCO_POOLS" in line]
    assert lines
    assert all("`moco up` is running" in line for line in lines)
