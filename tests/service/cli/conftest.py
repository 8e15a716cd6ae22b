"""Commands, run against the real API of a module."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli.main import app
from tests.support.client.moco_command import Moco
from tests.support.service.api import KEY, RunningApi, facts


@pytest.fixture
def moco(api: RunningApi, tmp_path: Path) -> Moco:
    """Run a command as a script would: no terminal, the server in the environment."""
    env = {
        "MOCO_URL": api.url,
        "MOCO_API_KEY": KEY,
        "MOCO_DATA_DIR": str(tmp_path / "none"),
        "XDG_CONFIG_HOME": str(tmp_path / "none"),
    }

    def run(*arguments: str, **changes: str) -> Result:
        result = CliRunner().invoke(app, list(arguments), env={**env, **changes})
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def ingests(api: RunningApi) -> Iterator[None]:
    """An ingest worker that finds what `facts` says in whatever it is given."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.02):
            lease = api.store.queue.claim(
                pools=("ingest",), worker_id="w", nonce=os.urandom(8).hex()
            )
            if lease is not None:
                known = facts().model_dump_json()
                folder = f"{lease.folder}/attempts/1/pack"
                api.store.queue.complete(
                    lease, artifacts=(), artifacts_folder=folder, facts_json=known
                )

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()
