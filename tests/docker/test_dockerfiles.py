"""The Dockerfiles' steps against the repository. `make docker-check` also runs them."""

import fnmatch
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.observability.synthetic import KEY, Synthetic, served

REPO = Path(__file__).resolve().parents[2]
FILES = sorted((REPO / "docker").glob("*.Dockerfile"))
LOCKS = ("build", "service", "worker")


@pytest.fixture(scope="module")
def check() -> ModuleType:
    """docker/check.py, which is no package."""
    spec = importlib.util.spec_from_file_location("docker_check", REPO / "docker" / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["docker_check"] = module  # where its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def _pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock.read_text(), re.MULTILINE))


def test_both_images_are_here() -> None:
    assert [path.name for path in FILES] == ["service.Dockerfile", "worker.Dockerfile"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_copied_exists_and_reaches_the_builder(path: Path, check: ModuleType) -> None:
    allowed = [
        line[1:] for line in (REPO / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    for step in check.steps(path.read_text()):
        if step.word == "COPY" and not step.rest.startswith("--from="):
            for source in shlex.split(step.rest)[:-1]:
                assert (REPO / source).exists(), source
                assert any(fnmatch.fnmatch(source, pattern) for pattern in allowed), source


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_install_is_locked_by_hashes_or_off_the_network(
    path: Path, check: ModuleType
) -> None:
    installs = [
        step.rest for step in check.steps(path.read_text()) if step.rest.startswith("pip install")
    ]
    assert len(installs) == 3
    for command in installs:
        assert "--require-hashes" in command or "--no-index" in command
        assert "--no-cache-dir" in command


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_image_runs_without_root_and_is_checked_with_the_key(
    path: Path, check: ModuleType
) -> None:
    steps = list(check.steps(path.read_text()))
    words = [step.word for step in steps]
    assert steps[words.index("USER")].rest == "moco"
    assert "RUN" not in words[words.index("USER") :]
    health = next(step.rest for step in steps if step.word == "HEALTHCHECK")
    assert json.loads(health.partition("CMD ")[2])[:2] == ["python", "healthcheck.py"]
    module = json.loads(steps[words.index("CMD")].rest)
    assert module[:2] == ["python", "-m"]
    assert (REPO / module[2] / "__main__.py").is_file()
    bases = [step.rest.split()[0] for step in steps if step.word == "FROM"]
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+", base) for base in bases)


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_agrees_with_the_one_that_is_tested(name: str) -> None:
    lock = REPO / "docker" / f"{name}.lock"
    mine, tested = _pins(lock), _pins(REPO / "requirements.lock")
    assert mine
    assert mine.items() <= tested.items()
    text = lock.read_text()
    assert text.count("--hash=sha256:") >= len(mine)
    assert "://" not in text


def test_the_service_image_has_no_tensors() -> None:
    mine = _pins(REPO / "docker" / "service.lock")
    assert {"fastapi", "redis", "uvicorn"} <= mine.keys()
    assert mine.keys().isdisjoint({"torch", "torchvision", "numpy", "pillow", "pyarrow"})
    assert "torch" in _pins(REPO / "docker" / "worker.lock")


def test_steps_are_read_as_docker_reads_them(check: ModuleType) -> None:
    text = '# a comment\nFROM python:3 AS build\n\nRUN one \\\n  # in between\n  two\nCMD ["a"]\n'
    found = [(step.word, " ".join(step.rest.split())) for step in check.steps(text)]
    assert found == [("FROM", "python:3 AS build"), ("RUN", "one two"), ("CMD", '["a"]')]


def test_a_step_that_fails_fails_the_check(
    check: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "Dockerfile"
    broken.write_text("FROM python:3\nWORKDIR /app\nCOPY no-such-file here\n")
    assert check.main(str(broken)) == 1
    assert "FAILED" in capsys.readouterr().out


@pytest.mark.parametrize(("key", "code"), [(KEY, 0), ("another", 1), ("", 0)])
def test_the_health_check_asks_with_the_key(tmp_path: Path, key: str, code: int) -> None:
    """The key comes from the environment, else from the data folder."""
    (tmp_path / "api.key").write_text(KEY + "\n")
    with served(Synthetic()) as ports:
        done = subprocess.run(
            [sys.executable, "docker/healthcheck.py", f"http://127.0.0.1:{ports['api']}/livez"],
            cwd=REPO,
            env={"MOCO_API_KEY": key, "MOCO_DATA_DIR": str(tmp_path)},
            capture_output=True,
            check=False,
        )
    assert done.returncode == code
