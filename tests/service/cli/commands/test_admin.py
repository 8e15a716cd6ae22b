"""`moco admin`, without the API: only the data folder and its Redis."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli.main import app
from service.ledger.entries import LEDGER
from service.store.store import Store
from tests.support.service.job_lives import World
from tests.support.service.redis import empty, opened_store, running_redis


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def own_store(home: Path) -> Iterator[Store]:
    """On the server of the data folder, which the commands find by themselves."""
    with running_redis(home) as server, opened_store(server.url) as store:
        yield store


def moco(home: Path, *arguments: str) -> Result:
    env = {"MOCO_DATA_DIR": str(home), "MOCO_REDIS_URL": ""}
    result = CliRunner().invoke(app, ["admin", *arguments], env=env)
    assert "Traceback" not in result.output
    return result


def test_lost_found_and_rebuilt(home: Path, own_store: Store) -> None:
    world = World(own_store, home)
    jobs = {world.submit() for _ in range(3)}
    well = moco(home, "verify")
    assert (well.exit_code, well.stdout) == (0, "")
    assert "3 jobs, 0 datasets: no problems." in well.stderr
    empty(own_store)
    lost = moco(home, "verify", "--deep")
    assert lost.exit_code == 1
    assert all(job in lost.stdout for job in jobs)
    assert "missing_job: Run `moco admin reconcile`." in lost.stderr
    told = json.loads(moco(home, "verify", "--json").stdout)
    assert (told["ok"], {one["where"] for one in told["findings"]}) == (False, jobs)
    rebuilt = moco(home, "reconcile")
    assert rebuilt.exit_code == 0
    assert rebuilt.stdout.startswith("3 jobs and 0 datasets restored")
    assert json.loads(moco(home, "reconcile", "--json").stdout)["jobs"] == 0
    assert moco(home, "verify").exit_code == 0
    damaged = home / "jobs" / min(jobs) / LEDGER
    damaged.write_bytes(damaged.read_bytes() + b"?\n")
    assert f"jobs/{min(jobs)}/{LEDGER}:2 cannot be read" in moco(home, "reconcile").stderr


def test_another_redis_is_refused(home: Path, own_store: Store) -> None:
    assert moco(home, "reconcile").exit_code == 0
    own_store.client.run(lambda client: client.set("{moco}:store", "someone"))
    refused = moco(home, "reconcile")
    assert refused.exit_code == 1
    assert "belongs to another data folder" in refused.stderr


def test_no_data_folder_is_said(tmp_path: Path) -> None:
    refused = moco(tmp_path / "none", "verify")
    assert refused.exit_code == 1
    assert "not found" in refused.stderr
    assert not (tmp_path / "none").exists()


def test_its_own_server_is_started_when_none_runs(tmp_path: Path) -> None:
    assert json.loads(moco(tmp_path, "reconcile", "--json").stdout)["jobs"] == 0
    assert moco(tmp_path, "verify").exit_code == 0
