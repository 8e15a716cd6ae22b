"""The built wheel, installed beside folders of a user that are named like our packages."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client.moco_up import images

REPO = Path(__file__).resolve().parents[2]
THEIRS = ("service", "trainer", "worker")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the `python` and `moco` of an environment into which the wheel was installed.

    What the wheel depends on is read from the environment of these tests, which cannot supply our
    packages: a path in a .pth file is not searched for .pth files, so its editable install is not.
    """
    folder = tmp_path_factory.mktemp("install")
    _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=REPO)
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "venv", symlinks=True)
    bin_dir = folder / "venv" / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(bin_dir / "python"), "install", "--quiet"]
    _run([*pip, "--no-deps", "--no-index", str(wheel)], cwd=folder)
    [site] = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return bin_dir


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder of the user's own, whose packages must never be imported by us."""
    for name in THEIRS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('a package of the user')\n")
    return tmp_path


def _run(command: list[str], *, cwd: Path, **changes: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        command, cwd=cwd, env=_env(**changes), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def _env(**changes: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MOCO_", "PYTHON"))}
    return {**kept, "MOCO_NO_CONFIG": "1", "OMP_NUM_THREADS": "1", **changes}


@pytest.mark.parametrize("path", ["", "."])
def test_the_client_is_imported_and_theirs_stays_theirs(
    scripts: Path, project: Path, path: str
) -> None:
    program = (
        "from mocoserve import Client\n"
        "import sys\n"
        "assert not {'service', 'trainer', 'worker'} & sys.modules.keys()\n"
        "try:\n"
        "    import service\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = _run([str(scripts / "python"), "-c", program], cwd=project, PYTHONPATH=path)
    assert done.stdout == "a package of the user\n"


@pytest.mark.parametrize("path", ["", "."])
def test_the_command_line_starts(scripts: Path, project: Path, path: str) -> None:
    shown = _run([str(scripts / "moco"), "--help"], cwd=project, PYTHONPATH=path).stdout
    assert "dataset" in shown
    _run([str(scripts / "moco"), "config", "list"], cwd=project, PYTHONPATH=path)


def test_training_alone_starts_from_elsewhere(scripts: Path, project: Path) -> None:
    """`python -m trainer` by the interpreter's own rules takes a `trainer/` that lies here."""
    launched = [str(scripts / "python"), "-m", "mocoserve.launch", "trainer", "--help"]
    assert "spec" in _run(launched, cwd=project, PYTHONPATH=".").stdout
    (project / "trainer" / "__init__.py").unlink()
    (project / "trainer").rmdir()
    plain = [str(scripts / "python"), "-m", "trainer", "--help"]
    assert "spec" in _run(plain, cwd=project, PYTHONPATH=".").stdout


@pytest.fixture
def server(scripts: Path, project: Path) -> Iterator[dict[str, Any]]:
    """A `moco up` of the installed wheel, started in the user's folder."""
    command = [str(scripts / "moco"), "up", "--json", "--port", "0", "--device", "cpu"]
    env = _env(
        PYTHONPATH=".",
        MOCO_DATA_DIR=str(project / "data"),
        MOCO_COMPILE_AHEAD="false",
        MOCO_THREADS="1",
    )
    with subprocess.Popen(
        command, cwd=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield next(
                told for line in process.stdout if (told := json.loads(line))["event"] == "ready"
            )
        finally:
            process.terminate()
            process.communicate(timeout=60)


@pytest.mark.slow
def test_a_job_runs_beside_their_folders(
    scripts: Path, project: Path, server: dict[str, Any]
) -> None:
    photos = images(project / "photos")
    program = (
        "from pathlib import Path; from mocoserve import Client\n"
        f"with Client({server['url']!r}, Path({server['key_file']!r}).read_text().strip()) as c:\n"
        f"    c.datasets.add(Path({str(photos)!r}), name='photos')\n"
        "    spec = {'dataset': 'photos', 'encoder': {'name': 'small'}, 'epochs': 1}\n"
        "    job = c.jobs.create(spec).wait(timeout_s=240)\n"
        "    print(job.status)\n"
        "    c.artifacts.download_all(job.id, Path('encoder'))\n"
    )
    done = _run([str(scripts / "python"), "-c", program], cwd=project, PYTHONPATH=".")
    assert done.stdout == "succeeded\n"
    embed = [str(scripts / "moco"), "embed", "encoder", "photos", "-o", "features.parquet"]
    _run(embed, cwd=project, PYTHONPATH=".")
    assert (project / "features.parquet").stat().st_size
