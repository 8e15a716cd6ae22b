import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pynvml
import pytest
from pydantic import ValidationError

from tests.support.gpus import fake_nvml
from tests.support.gpus.fake_nvml import FakeCard, FakeMachine
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


@pytest.mark.parametrize("names", ["", "gpu", "cuda:", "cuda:0,", "cuda:0;cuda:1", "1", "GPU-"])
def test_a_device_that_is_none_is_told_what_to_write(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], names: str
) -> None:
    monkeypatch.setenv("MOCO_DEVICE", names)
    assert main() == 1
    said = capsys.readouterr().err
    assert "MOCO_DEVICE: '" in said
    assert "is no device. Write auto, cpu, or GPUs as cuda:N, GPU-... or MIG-..." in said


@pytest.mark.parametrize(
    "names", ["auto", "cpu,cpu", "cuda", "cuda:0, GPU-1a,MIG-2b", "MIG-GPU-3c/1/0"]
)
def test_devices_are_named_in_many_ways(monkeypatch: pytest.MonkeyPatch, names: str) -> None:
    monkeypatch.setenv("MOCO_DEVICE", names)
    assert WorkerSettings().device == names


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


HOST = FakeMachine((FakeCard("GPU-a"), FakeCard("GPU-b")))


@pytest.mark.parametrize(
    ("machine", "variables", "words"),
    [
        (replace(HOST, driver="550.54.15", cuda=12040), {}, "Install driver 580.65.06 or newer"),
        (FakeMachine((FakeCard("GPU-k", "Tesla K80", (3, 7)),)), {}, "has compute capability 3.7"),
        (HOST, {"MOCO_DEVICE": "cuda:2"}, "MOCO_DEVICE names cuda:2"),
        (HOST, {"CUDA_VISIBLE_DEVICES": "MIG-7"}, "CUDA_VISIBLE_DEVICES names MIG-7"),
        (FakeMachine(init_error=pynvml.NVML_ERROR_DRIVER_NOT_LOADED), {}, "Driver Not Loaded"),
        (
            replace(HOST, cuda_error="Error 802: system not yet initialized"),
            {},
            "start nvidia-fabricmanager",
        ),
    ],
)
def test_gpus_that_cannot_be_used_are_refused_before_a_job_is_taken(
    tmp_path: Path, machine: FakeMachine, variables: dict[str, str], words: str
) -> None:
    """It ends before it looks for a store, and so before it could lease a job."""
    clean = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-m", "worker"],
        cwd=ROOT,
        env=clean | {"MOCO_DATA_DIR": str(tmp_path)} | fake_nvml.environment(machine) | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("The worker cannot start. ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_card_without_bf16_is_used_and_said_in_the_log(tmp_path: Path) -> None:
    machine = FakeMachine((FakeCard("GPU-t", "Tesla T4", (7, 5)),))
    clean = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-m", "worker"],
        cwd=ROOT,
        env=clean | {"MOCO_DATA_DIR": str(tmp_path)} | fake_nvml.environment(machine),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Tesla T4 (GPU-t) has no bf16" in done.stderr
    assert "No Redis configured" in done.stderr  # it was accepted, and got as far as the store


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
