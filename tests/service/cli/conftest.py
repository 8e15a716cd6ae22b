"""Commands, run against the real API of a module."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli.main import app
from tests.support.api import KEY, RunningApi
from tests.support.moco import Moco


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
