import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from worker import __main__ as main_module
from worker.__main__ import main
from worker.settings import WorkerSettings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("MOCO_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MOCO_DATA_DIR", str(tmp_path))


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCO_POOLS", "train, ingest")
    monkeypatch.setenv("MOCO_DEVICE", "cuda:1")
    settings = WorkerSettings()
    assert settings.pools == ("train", "ingest")
    assert settings.device == "cuda:1"
    assert (settings.grace_s, settings.scrape_s, settings.metrics_port) == (30.0, 15.0, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MOCO_POOLS", " , "),
        ("MOCO_DEVICE", "gpu"),
        ("MOCO_THREADS", "0"),
        ("MOCO_GRACE_S", "-1"),
        ("MOCO_NAME", "../x"),
    ],
)
def test_a_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        WorkerSettings()
    assert main() == 1
    said = capsys.readouterr().err
    assert said.startswith("The worker cannot start.")
    assert name in said


def test_a_missing_data_folder_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MOCO_DATA_DIR", str(tmp_path / "nowhere"))
    assert main() == 1
    assert "nowhere, which is no folder" in capsys.readouterr().err


def test_a_machine_without_torch_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main_module, "installed", lambda _package: None)
    assert main() == 1
    assert "pip install 'mocoserve[worker]'" in capsys.readouterr().err


def test_no_redis_is_said_in_words_and_nothing_is_left_running(tmp_path: Path) -> None:
    environment = os.environ | {"MOCO_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "worker"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "No Redis configured. Set MOCO_REDIS_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_supervisor_imports_no_torch() -> None:
    code = "import sys, worker.__main__; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


def test_all_that_compiles_when_it_is_loaded_is_loaded_ahead() -> None:
    """Or the first job of a worker waits for it."""
    modules = (ROOT / "trainer").rglob("*.py")
    compiled = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in modules
        if "import compiled_now" in path.read_text("utf-8")
    }
    assert compiled == set(main_module.COMPILED)
